package codec

import "testing"

// LowerMaxPlaces makes values that unfold to too much smaller, for one test.
func LowerMaxPlaces(t *testing.T, n int) {
	was := maxPlaces
	maxPlaces = n
	t.Cleanup(func() { maxPlaces = was })
}
