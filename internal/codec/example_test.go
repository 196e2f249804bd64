package codec_test

import (
	"fmt"
	"reflect"

	"github.com/nearfar/nearfar/internal/codec"
)

func Example() {
	type matrix struct {
		Rows, Cols int
		Data       []float64
	}
	m := matrix{Rows: 1, Cols: 2, Data: []float64{3, 4}}
	data, err := codec.Append(nil, &m)
	if err != nil {
		fmt.Println(err)
		return
	}
	var there matrix
	if err := codec.Decode(data, &there); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(there)
	fmt.Println(codec.TypeFor[matrix]().Describe())
	// Output:
	// {1 2 [3 4]}
	// struct 1 {
	//   Rows int
	//   Cols int
	//   Data []float64
	// }
}

func ExampleType_Err() {
	type step struct {
		Name string
		Done func() error
	}
	type plan struct {
		Steps map[string][]step
	}
	fmt.Println(codec.For(reflect.TypeFor[plan]()).Err())
	// Output:
	// codec: type codec_test.plan cannot travel: plan.Steps["..."][i].Done is a func() error; code does not travel: send data, and register the function that uses it
}
