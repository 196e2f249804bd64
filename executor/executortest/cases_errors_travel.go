package executortest

import (
	"testing"
)

func travelCases(t *testing.T, open opener) {}
func valueCases(t *testing.T, open opener)  {}
