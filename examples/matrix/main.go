// Command matrix is the first lesson of dask.distributed's efficiency page: leave data
// where it is, and send the function to it. A matrix of 1000 x 1000 numbers is made by a
// task. Its shape is asked twice: by Then, where the matrix is, and here, when it was
// brought home.
//
//	go run ./examples/matrix -executor 'proc://?workers=2'
//
// What was computed is printed on stdout and is the same everywhere; what it cost, on stderr.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"time"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/remote"
)

func init() {
	executor.Register(random)
	executor.Register(shape)
	executor.Register(total)
	executor.Register(nothing)
}

// A Shape is the rows and columns of a matrix.
type Shape struct{ Rows, Cols int }

// A Matrix has its numbers row by row.
type Matrix struct {
	Shape
	Data []float64
}

// random is a matrix of numbers from 0 to 1, the same each time: a value may have to be
// computed again.
func random(_ context.Context, s Shape) (Matrix, error) {
	r := rand.New(rand.NewPCG(1, 2))
	m := Matrix{s, make([]float64, s.Rows*s.Cols)}
	for i := range m.Data {
		m.Data[i] = r.Float64()
	}
	return m, nil
}

func shape(_ context.Context, m Matrix) (Shape, error) { return m.Shape, nil }

func total(_ context.Context, m Matrix) (sum float64, err error) {
	for _, x := range m.Data {
		sum += x
	}
	return sum, nil
}

func nothing(context.Context, struct{}) (struct{}, error) { return struct{}{}, nil }

func main() {
	remote.Init()
	dsn := flag.String("executor", os.Getenv("NEARFAR_EXECUTOR"), "where to run: a DSN")
	rows := flag.Int("rows", 1000, "of the matrix")
	cols := flag.Int("cols", 1000, "of the matrix")
	flag.Parse()
	if err := run(context.Background(), *dsn, Shape{*rows, *cols}); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, dsn string, size Shape) error {
	ex, err := executor.Open(ctx, dsn)
	if err != nil {
		return err
	}
	defer ex.Close()

	m := executor.Submit(ctx, ex, random, size)
	if err := m.Wait(ctx); err != nil { // moves nothing
		return err
	}

	trip := account(ex)
	if _, err := executor.Submit(ctx, ex, nothing, struct{}{}).Result(ctx); err != nil {
		return err
	}
	trip.print("an empty round trip")

	there := account(ex)
	s, err := executor.Then(ctx, ex, shape, m).Result(ctx)
	if err != nil {
		return err
	}
	there.print("the shape, asked by Then")
	fmt.Printf("asked where it is: %d x %d\n", s.Rows, s.Cols)

	sum, err := executor.Then(ctx, ex, total, m).Result(ctx)
	if err != nil {
		return err
	}

	home := account(ex)
	here, err := m.Result(ctx)
	if err != nil {
		return err
	}
	home.print("the matrix, brought home")
	fmt.Printf("asked at home:     %d x %d\n", here.Rows, here.Cols)

	again, err := total(ctx, here)
	fmt.Println("the sums agree:   ", again == sum)
	return err
}

// A bill is what was spent since it was opened.
type bill struct {
	ex     executor.Executor
	before int64
	start  time.Time
}

func account(ex executor.Executor) bill { return bill{ex, moved(ex), time.Now()} }

// moved is how many bytes of arguments and values went either way.
func moved(ex executor.Executor) int64 {
	s := ex.Stats()
	return s.BytesSent + s.BytesReceived
}

func (b bill) print(what string) {
	took := time.Since(b.start)
	fmt.Fprintf(os.Stderr, "%-26s %9d bytes %12v\n", what, moved(b.ex)-b.before, took.Round(time.Microsecond))
}
