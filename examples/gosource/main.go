// Command gosource reads every Go file below a folder, by default the sources of the
// standard library, and prints a table by package: files, lines, functions, the
// longest function, the identifiers used most.
//
//	go run ./examples/gosource
//	go run ./examples/gosource -executor 'local://?threads=1' ./internal
//	go run ./examples/gosource -executor 'proc://?workers=2&threads=1'
//	go run ./examples/gosource -compare
//
// Each file is parsed by a task of a Map. The summaries are brought together where
// they are, by Reduce, and only the table comes home. Workers on another machine read the
// files there, from the same paths.
package main

import (
	"context"
	"flag"
	"fmt"
	"go/build"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/remote"
)

func init() {
	executor.Register(summarize)
	executor.Register(merge)
}

func main() {
	remote.Init()
	dsn := flag.String("executor", os.Getenv("NEARFAR_EXECUTOR"), "where to run: a DSN such as local://?threads=4")
	compare := flag.Bool("compare", false, "time a plain loop beside it")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: gosource [flags] [folder]\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	root := filepath.Join(build.Default.GOROOT, "src")
	if flag.NArg() > 0 {
		root = flag.Arg(0)
	}
	if err := run(context.Background(), *dsn, root, *compare); err != nil {
		fmt.Fprintln(os.Stderr, "gosource:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dsn, root string, compare bool) error {
	files, err := goFiles(root)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("no Go files below %s", root)
	}
	ex, err := executor.Open(ctx, dsn)
	if err != nil {
		return err
	}
	defer ex.Close()

	start := time.Now()
	table, err := parallel(ctx, ex, files)
	if err != nil {
		return err
	}
	took := time.Since(start)
	table.print(os.Stdout, root)
	fmt.Fprintf(os.Stderr, "%d files in %v on %d slots\n", len(files), took.Round(time.Millisecond), ex.Slots())
	if !compare {
		return nil
	}

	start = time.Now()
	if _, err := loop(ctx, files); err != nil {
		return err
	}
	alone := time.Since(start)
	fmt.Fprintf(os.Stderr, "%d files in %v in a plain loop: %.2f times as long\n",
		len(files), alone.Round(time.Millisecond), float64(alone)/float64(took))
	return nil
}

// parallel parses the files with a Map, and reduces what it finds where it is.
func parallel(ctx context.Context, ex executor.Executor, files []string) (Table, error) {
	batch := executor.Map(ctx, ex, summarize, files)
	stop := progress(os.Stderr, batch)
	defer stop()
	return executor.Reduce(ctx, ex, merge, batch.Futures(), executor.WithFanIn(64)).Result(ctx)
}

// loop is what parallel replaces.
func loop(ctx context.Context, files []string) (Table, error) {
	tables := make([]Table, len(files))
	for i, file := range files {
		var err error
		if tables[i], err = summarize(ctx, file); err != nil {
			return nil, err
		}
	}
	return merge(ctx, tables)
}

// goFiles are the Go files below a folder, in order, less what only tests the tools.
func goFiles(root string) (files []string, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != root):
			return filepath.SkipDir
		case !d.IsDir() && strings.HasSuffix(path, ".go"):
			abs, err := filepath.Abs(path)
			files = append(files, abs)
			return err
		}
		return nil
	})
	return files, err
}
