package futures

import (
	"reflect"

	"github.com/nearfar/nearfar/internal/cell"
)

// CellOf is the inside of a future, for the packages of this module: they fill it.
func CellOf[T any](f *Future[T]) *cell.Cell[T] { return &f.cell }

// SheetOf is the inside of a batch, for the packages of this module.
func SheetOf[R any](b *Batch[R]) *cell.Sheet[R] { return &b.sheet }

// CoreOf is the inside of a waiter, for the packages of this module.
func CoreOf(w Waiter) *cell.Core { return w.core() }

// ValueOf is the inside of a *Future of any type, for the packages of this module.
func ValueOf(future any) cell.Value { return future.(interface{ value() cell.Value }).value() }

func (f *Future[T]) value() cell.Value { return &f.cell }

// NearfarReference makes a future in an argument travel as a reference. It is not
// meant to be called.
func (f *Future[T]) NearfarReference() (self, value reflect.Type) {
	return reflect.TypeFor[*Future[T]](), reflect.TypeFor[T]()
}
