package pool_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/nearfar/nearfar/pool"
)

// A greeting is a task of the simplest kind: it is never cancelled, so it is never dead.
type greeting struct {
	to    string
	ended *sync.WaitGroup
}

func (g greeting) Run(*pool.Runner) {
	fmt.Println("hello,", g.to)
	if g.to == "nobody" {
		panic("there is nobody")
	}
	g.ended.Done()
}

func (g greeting) Broke(_ *pool.Runner, recovered any, _ []byte) {
	fmt.Println("broke:", recovered)
	g.ended.Done()
}

func (g greeting) Dead() bool { return false }

// Tasks start in the order of Push; what breaks takes no slot with it.
func Example() {
	p := pool.New(pool.Config{Slots: 1})
	var ended sync.WaitGroup
	for _, to := range []string{"near", "nobody", "far"} {
		ended.Add(1)
		p.Push(greeting{to, &ended}, 0, 1)
	}
	ended.Wait()

	dropped := p.Close() // what has not started
	fmt.Println(len(dropped), p.Wait(context.Background()))
	fmt.Println(p.Push(greeting{"anybody", &ended}, 0, 1))
	// Output:
	// hello, near
	// hello, nobody
	// broke: there is nobody
	// hello, far
	// 0 <nil>
	// false
}
