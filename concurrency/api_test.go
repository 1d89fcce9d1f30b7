package concurrency_test

import (
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	oursPath   = "github.com/conclave-go/conclave/concurrency"
	theirsPath = "go.etcd.io/etcd/client/v3/concurrency"
)

// extra are the names that the other library does not have.
var extra = []string{"Exists", "GetJSON", "GetPrefix", "GetRange", "KeyValue", "PutJSON", "WithOptions", "WithStrict"}

// A later release of etcd that adds a name, or changes a signature, fails this.
func TestEveryExportedNameIsThereWithItsSignature(t *testing.T) {
	t.Parallel()
	from := importer.ForCompiler(token.NewFileSet(), "gc", compiled(t)) // one, so that what they import is the same
	ours, err := from.Import(oursPath)
	require.NoError(t, err)
	theirs, err := from.Import(theirsPath)
	require.NoError(t, err)
	require.NotEmpty(t, exported(theirs))
	for name, is := range exported(theirs) {
		require.Equal(t, is, exported(ours)[name], name)
	}
	for name := range exported(ours) {
		head, _, _ := strings.Cut(name, ".")
		if _, known := exported(theirs)[name]; !known && name != "Session.Conclave" {
			require.True(t, slices.Contains(extra, head), "%s is not known to be extra", name)
		}
	}
}

// compiled returns how to read the declarations of a package, as the compiler has left
// them.
func compiled(t *testing.T) importer.Lookup {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", oursPath, theirsPath)
	out, err := list.Output()
	require.NoError(t, err)
	files := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		files[path] = file
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(files[path]) }
}

// exported returns what a package offers, each name with its declaration: the methods of
// a type, too, and fields and underlying types as far as others can see them.
func exported(pkg *types.Package) map[string]string {
	all := make(map[string]string)
	for _, name := range pkg.Scope().Names() {
		o := pkg.Scope().Lookup(name)
		if !o.Exported() {
			continue
		}
		all[name] = describe(pkg, o)
		if named, ok := o.Type().(*types.Named); ok {
			if _, ok := o.(*types.TypeName); ok {
				addMethods(all, pkg, name, named)
			}
		}
	}
	return all
}

func addMethods(all map[string]string, pkg *types.Package, name string, named *types.Named) {
	set := types.NewMethodSet(types.NewPointer(named))
	if types.IsInterface(named) {
		set = types.NewMethodSet(named)
	}
	for m := range set.Methods() {
		if m.Obj().Exported() {
			all[name+"."+m.Obj().Name()] = render(pkg, m.Obj().Type())
		}
	}
}

// describe returns what kind of thing o is, and its type.
func describe(pkg *types.Package, o types.Object) string {
	switch o := o.(type) {
	case *types.Const:
		return "const " + render(pkg, o.Type()) + " = " + o.Val().String()
	case *types.TypeName:
		switch under := o.Type().Underlying().(type) {
		case *types.Struct:
			return "struct" + fields(pkg, under)
		case *types.Interface:
			return "interface"
		default:
			return "type " + render(pkg, under)
		}
	case *types.Var:
		return "var " + render(pkg, o.Type())
	default:
		return render(pkg, o.Type())
	}
}

func fields(pkg *types.Package, s *types.Struct) (all string) {
	for f := range s.Fields() {
		if f.Exported() {
			all += " " + f.Name() + " " + render(pkg, f.Type())
		}
	}
	return all
}

// render returns a type as it is written inside its package, without names of parameters.
func render(pkg *types.Package, t types.Type) string {
	return types.TypeString(withoutNames(t), types.RelativeTo(pkg))
}

// withoutNames returns a signature whose parameters have no names.
func withoutNames(t types.Type) types.Type {
	s, ok := t.(*types.Signature)
	if !ok {
		return t
	}
	strip := func(tuple *types.Tuple) *types.Tuple {
		var vars []*types.Var
		for v := range tuple.Variables() {
			vars = append(vars, types.NewParam(token.NoPos, nil, "", v.Type()))
		}
		return types.NewTuple(vars...)
	}
	if s.TypeParams().Len() > 0 {
		return t
	}
	return types.NewSignatureType(nil, nil, nil, strip(s.Params()), strip(s.Results()), s.Variadic())
}
