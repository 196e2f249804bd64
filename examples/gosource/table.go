package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Table is a summary by folder. It travels: all fields are exported.
type Table map[string]Package

// A Package is what is known of the Go files of a folder.
type Package struct {
	Files, Lines, Funcs int
	Longest             Func
	Names               map[string]int // identifiers, and how often they are used
}

// A Func is a function and its length in lines.
type Func struct {
	Name  string
	Lines int
}

// summarize parses one file.
func summarize(_ context.Context, path string) (Table, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	p := Package{Files: 1, Lines: bytes.Count(src, []byte("\n")), Names: map[string]int{}}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			p.Funcs++
			lines := fset.Position(n.End()).Line - fset.Position(n.Pos()).Line + 1
			p.Longest = longer(p.Longest, Func{n.Name.Name, lines})
		case *ast.Ident:
			if n.Name != "_" {
				p.Names[n.Name]++
			}
		}
		return true
	})
	return Table{filepath.Dir(path): p}, nil
}

// merge adds tables up. It is associative, so Reduce may call it in a tree.
func merge(_ context.Context, tables []Table) (Table, error) {
	sum := Table{}
	for _, t := range tables {
		for dir, p := range t {
			s := sum[dir]
			s.Files += p.Files
			s.Lines += p.Lines
			s.Funcs += p.Funcs
			s.Longest = longer(s.Longest, p.Longest)
			if s.Names == nil {
				s.Names = map[string]int{}
			}
			for name, n := range p.Names {
				s.Names[name] += n
			}
			sum[dir] = s
		}
	}
	return sum, nil
}

func longer(a, b Func) Func {
	if b.Lines > a.Lines || b.Lines == a.Lines && b.Name < a.Name {
		return b
	}
	return a
}

// print writes a line a package and a line for all, in the order of the folders.
func (t Table) print(w io.Writer, root string) {
	fmt.Fprintf(w, "%-36s %6s %8s %6s  %-38s %s\n", "package", "files", "lines", "funcs", "longest function", "used most")
	total := Package{Names: map[string]int{}}
	root, _ = filepath.Abs(root)
	for _, dir := range slices.Sorted(maps.Keys(t)) {
		p := t[dir]
		name, err := filepath.Rel(root, dir)
		if err != nil {
			name = dir
		}
		p.print(w, filepath.ToSlash(name))
		total.Files += p.Files
		total.Lines += p.Lines
		total.Funcs += p.Funcs
		total.Longest = longer(total.Longest, p.Longest)
		for id, n := range p.Names {
			total.Names[id] += n
		}
	}
	total.print(w, fmt.Sprintf("all %d packages", len(t)))
}

func (p Package) print(w io.Writer, name string) {
	longest := fmt.Sprintf("%s (%d)", p.Longest.Name, p.Longest.Lines)
	if p.Longest.Lines == 0 {
		longest = "-"
	}
	fmt.Fprintf(w, "%-36s %6d %8d %6d  %-38s %s\n", name, p.Files, p.Lines, p.Funcs, longest, strings.Join(p.top(3), " "))
}

// top are the n identifiers used most.
func (p Package) top(n int) []string {
	names := slices.SortedFunc(maps.Keys(p.Names), func(a, b string) int {
		return cmp.Or(p.Names[b]-p.Names[a], strings.Compare(a, b))
	})
	return names[:min(n, len(names))]
}
