package executortest

import "os"

// openFiles counts the files and sockets that this process has open.
func openFiles() int {
	list, _ := os.ReadDir("/proc/self/fd")
	return len(list)
}
