package protocols

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	exprchecker "github.com/expr-lang/expr/checker"
	exprcompiler "github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"
)

// This file hands expressions to the library. Its own ways are kept, but for
// these: null counts as false, a key that isn't there is an error unless ??
// follows, nothing depends on the order of a map, and what an evaluation costs
// is counted.

// Names that no expression can say: the reader refuses them.
const (
	handleName = "__run"    // the evaluation
	costName   = "__cost"   // counts a value's size
	boolName   = "__bool"   // true or false
	getName    = "__get"    // a member of a value
	tryName    = "__try"    // a member of a value, null if there is none
	atName     = "__at"     // a member of what a path leads to
	tryAtName  = "__try_at" // the same, null if there is none
	sliceName  = "__slice"
	matchName  = "__matches"
	lenient    = "__try_" // begins a placeholder before ??
)

// handle is what expressions call the evaluation.
type handle struct{ *evaluation }

// libraryFunctions are those of the library's functions that are part of the
// language. They know no clock and no order of maps, and their result isn't
// larger than what they are given.
var libraryFunctions = []string{
	"all", "none", "any", "one", "filter", "map", "find", "findIndex", "findLast", "findLastIndex", "count",
	"groupBy", "sortBy", "reduce", "sum", "mean", "median", "min", "max",
	"len", "int", "float", "abs", "ceil", "floor", "round",
	"trim", "trimPrefix", "trimSuffix", "upper", "lower", "split", "indexOf", "lastIndexOf", "hasPrefix", "hasSuffix",
	"first", "last", "get", "take", "reverse", "concat", "flatten", "sort",
}

// constantTime are the functions whose cost doesn't grow with what they are given.
var constantTime = wordSet("len", "int", "float", "abs", "ceil", "floor", "round", "first", "last", "get")

// conditions are the functions that ask each item a question.
var conditions = wordSet("all", "none", "any", "one", "filter", "find", "findIndex", "findLast", "findLastIndex", "count")

var knownFunctions = wordSet(functionNames()...)

func wordSet(words ...string) map[string]bool {
	set := make(map[string]bool, len(words))
	for _, w := range words {
		set[w] = true
	}
	return set
}

func functionNames() []string {
	names := append([]string(nil), libraryFunctions...)
	for _, f := range ownFunctions {
		names = append(names, f.name)
	}
	return append(names, statusFunctions...)
}

func isFunction(name string) bool { return knownFunctions[name] }

// compile has the library check the types, once. inputs tells those that are
// declared.
func (e *expression) compile(inputs map[string]*Input) *referenceError {
	e.once.Do(func() {
		defer func() {
			if r := recover(); r != nil {
				e.wrong = &referenceError{e.readable(fmt.Sprint(r)), ""}
			}
		}()
		e.wrong = e.build(inputs)
	})
	return e.wrong
}

func (e *expression) build(inputs map[string]*Input) *referenceError {
	c := conf.CreateNew()
	c.WithEnv(map[string]any{handleName: handle{}})
	c.Optimize = false
	for name := range c.Builtins {
		c.Disabled[name] = true
	}
	for _, name := range libraryFunctions {
		delete(c.Disabled, name)
	}
	for name := range c.Disabled {
		delete(c.Builtins, name)
	}
	e.functions(c.Functions, inputs)
	tree, err := parser.ParseWithConfig(e.source, c)
	if err == nil {
		p := &patcher{}
		if ast.Walk(&tree.Node, p); p.wrong != "" {
			return &referenceError{p.wrong, ""}
		}
		_, err = exprchecker.Check(tree, c)
	}
	var program *vm.Program
	if err == nil {
		program, err = exprcompiler.Compile(tree, c)
	}
	if err != nil {
		return &referenceError{e.readable(err.Error()), typeHint(err.Error())}
	}
	e.program = program
	e.result, e.known = kindOfType(tree.Node.Type())
	return nil
}

// functions declares everything that the expression may call.
func (e *expression) functions(to map[string]*builtin.Function, inputs map[string]*Input) {
	add := func(name string, f func(h handle, args []any) (any, error), result func(args []reflect.Type) (reflect.Type, error)) {
		to[name] = &builtin.Function{Name: name, Func: func(args ...any) (any, error) {
			return f(args[0].(handle), args[1:])
		}, Validate: func(args []reflect.Type) (reflect.Type, error) { return result(args[1:]) }}
	}
	for i, ref := range e.refs {
		t := typeOfReference(ref, inputs)
		add(fmt.Sprintf("%s%d", placeholder, i), func(h handle, _ []any) (any, error) { return h.reference(i, t) }, always(t))
		add(fmt.Sprintf("%s%d", lenient, i), func(h handle, _ []any) (any, error) { return h.optional(i) }, always(anyType))
	}
	for _, name := range statusFunctions {
		add(name, func(h handle, _ []any) (any, error) { return h.status(name), nil }, func(args []reflect.Type) (reflect.Type, error) {
			if len(args) > 0 {
				return nil, fmt.Errorf("%s() takes nothing", name)
			}
			return boolType, nil
		})
	}
	for _, f := range ownFunctions {
		add(f.name, f.call, f.check)
	}
	add(costName, func(h handle, args []any) (any, error) { return args[0], h.charge(args[0]) }, same)
	add(boolName, func(h handle, args []any) (any, error) { return h.truth(args[0]) }, condition)
	get := func(h handle, args []any) (any, error) { return h.member(args[0], args[1]) }
	at := func(h handle, args []any) (any, error) { return h.at(args[0].(int), args[1]) }
	add(getName, get, memberType)
	add(tryName, softly(get), memberType)
	add(atName, at, always(anyType))
	add(tryAtName, softly(at), always(anyType))
	add(matchName, func(h handle, args []any) (any, error) { return h.matches(args[0], args[1]) }, func(args []reflect.Type) (reflect.Type, error) {
		return boolType, textsOnly("matches", args)
	})
	add(sliceName, func(h handle, args []any) (any, error) { return h.slice(args[0], args[1], args[2]) }, same)
}

// softly makes null of a member that isn't there.
func softly(get func(h handle, args []any) (any, error)) func(h handle, args []any) (any, error) {
	return func(h handle, args []any) (any, error) {
		v, err := get(h, args)
		if errors.As(err, new(absent)) {
			return nil, nil
		}
		return v, err
	}
}

var (
	anyType    = reflect.TypeFor[any]()
	boolType   = reflect.TypeFor[bool]()
	intType    = reflect.TypeFor[int]()
	floatType  = reflect.TypeFor[float64]()
	stringType = reflect.TypeFor[string]()
	listType   = reflect.TypeFor[[]any]()
	mapType    = reflect.TypeFor[map[string]any]()
)

func always(t reflect.Type) func([]reflect.Type) (reflect.Type, error) {
	return func([]reflect.Type) (reflect.Type, error) { return t, nil }
}

func same(args []reflect.Type) (reflect.Type, error) {
	if args[0] == nil { // null
		return anyType, nil
	}
	return args[0], nil
}

func condition(args []reflect.Type) (reflect.Type, error) {
	if k, known := kindOfType(args[0]); known && k != boolKind && k != nullKind {
		return nil, fmt.Errorf("a condition must be true or false, not %s", k)
	}
	return boolType, nil
}

func textsOnly(operator string, args []reflect.Type) error {
	for _, arg := range args {
		if k, known := kindOfType(arg); known && k != stringKind && k != nullKind {
			return fmt.Errorf("%s takes texts, not %s", operator, k)
		}
	}
	return nil
}

func memberType(args []reflect.Type) (reflect.Type, error) {
	if k, known := kindOfType(args[0]); known && k != mapKind && k != listKind {
		return nil, fmt.Errorf("there is nothing inside of %s", k)
	}
	return anyType, nil
}

// kindOfType returns the kind of a type that is known.
func kindOfType(t reflect.Type) (k kind, known bool) {
	if t == nil {
		return nullKind, true
	}
	switch t.Kind() {
	case reflect.Bool:
		return boolKind, true
	case reflect.Int, reflect.Float64:
		return numberKind, true
	case reflect.String:
		return stringKind, true
	case reflect.Slice, reflect.Array:
		return listKind, true
	case reflect.Map:
		return mapKind, true
	}
	return nullKind, false
}

// typeOfReference returns what is known of a path's type: of inputs that a run
// always has, and of the few things that are always text or a number.
func typeOfReference(ref *reference, inputs map[string]*Input) reflect.Type {
	switch ref.root {
	case inputsRoot:
		if len(ref.path) != 1 {
			return anyType
		}
		in := inputs[ref.path[0].key]
		if in == nil || in.Type == "" || !in.Required && (in.Default == nil || kindOf(in.Default) == nullKind) {
			return anyType
		}
		return map[string]reflect.Type{"string": stringType, "integer": intType, "number": floatType, "boolean": boolType,
			"array": listType, "object": mapType}[in.Type]
	case envRoot, secretsRoot:
		return stringType
	case indexRoot:
		return intType
	case runRoot:
		if len(ref.path) == 1 && ref.path[0].key == "attempt" {
			return intType
		} else if len(ref.path) == 1 {
			return stringType
		}
	}
	return anyType
}

var (
	internalName = regexp.MustCompile(`\b__(?:try_)?([0-9]+)\b`)
	wholeNumber  = regexp.MustCompile(`(\b(?:types?|and|as|use|got) )int\b`)
	unexpected   = regexp.MustCompile(`unexpected token \w+\("(.*?)"\)`)
	goType       = strings.NewReplacer("unexpected token EOF", "it ends too early", "unexpected end of expression", "it ends too early", "map[string]interface {}", "map", "[]interface {}", "list", "interface {}", "any value",
		"float64", "number", "bool", "boolean", "[]int", "list", "[]string", "list", "[]float64", "list", "protocols.handle", "run",
		"conf.Kind", "kind", "compilation failed: ", "", "<nil>", "null", "nil", "null", "array", "list", "builtin ", "", "memory budget exceeded", "the expression needs too much memory")
)

// readable returns what the library says in the words of the language.
func (e *expression) readable(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	if i := strings.LastIndex(text, " ("); i > 0 && strings.HasSuffix(text, ")") && strings.Contains(text[i:], ":") {
		text = text[:i] // the place in what the library saw
	}
	text = wholeNumber.ReplaceAllString(text, "${1}integer")
	text = goType.Replace(unexpected.ReplaceAllString(text, "unexpected $1"))
	text = internalName.ReplaceAllStringFunc(text, func(name string) string {
		var i int
		if _, err := fmt.Sscanf(internalName.FindStringSubmatch(name)[1], "%d", &i); err == nil && i < len(e.refs) {
			return e.refs[i].text
		}
		return name
	})
	return shortenTo(strings.Map(visible, text), 200)
}

func typeHint(text string) string {
	if strings.Contains(text, "invalid operation: +") && strings.Contains(text, "mismatched") {
		return "make a text of a value with string(…)"
	}
	return ""
}

// patcher puts our own ways into the library's tree.
type patcher struct{ wrong string }

// Visit is called for each node, those within it first.
func (p *patcher) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		if internalName.MatchString(n.Value) {
			ast.Patch(node, call(n.Value))
		}
	case *ast.BinaryNode:
		if n.Operator == "matches" {
			p.pattern(n.Right)
			ast.Patch(node, call(matchName, n.Left, n.Right))
			return
		}
		p.binary(n)
	case *ast.UnaryNode:
		if n.Operator == "!" || n.Operator == "not" {
			n.Node = around(boolName, n.Node)
		}
	case *ast.ConditionalNode:
		n.Cond = around(boolName, n.Cond)
	case *ast.MemberNode:
		if n.Method {
			p.refuse("a value has no functions")
		} else if i, ok := placed(n.Node); ok && !n.Optional {
			ast.Patch(node, call(atName, &ast.IntegerNode{Value: i}, n.Property))
		} else if !n.Optional {
			ast.Patch(node, call(getName, n.Node, n.Property))
		}
	case *ast.SliceNode:
		ast.Patch(node, call(sliceName, n.Node, orNil(n.From), orNil(n.To)))
	case *ast.CallNode:
		p.called(n)
	case *ast.BuiltinNode:
		p.builtin(n)
	case *ast.VariableDeclaratorNode, *ast.SequenceNode, *ast.BytesNode:
		p.refuse("there is more than one expression")
	}
}

func (p *patcher) refuse(text string) {
	if p.wrong == "" {
		p.wrong = text
	}
}

// placed returns the number of the path that n is a placeholder of.
func placed(n ast.Node) (i int, ok bool) {
	c, isCall := n.(*ast.CallNode)
	if !isCall {
		return 0, false
	}
	callee, isName := c.Callee.(*ast.IdentifierNode)
	if !isName || !internalName.MatchString(callee.Value) {
		return 0, false
	}
	i, err := strconv.Atoi(strings.TrimPrefix(callee.Value, placeholder))
	return i, err == nil
}

func orNil(n ast.Node) ast.Node {
	if n == nil {
		return &ast.NilNode{}
	}
	return n
}

// call returns a call of one of our functions. The evaluation comes first.
func call(name string, args ...ast.Node) *ast.CallNode {
	return &ast.CallNode{Callee: &ast.IdentifierNode{Value: name}, Arguments: append([]ast.Node{&ast.IdentifierNode{Value: handleName}}, args...)}
}

func around(name string, n ast.Node) ast.Node {
	c := call(name, n)
	c.SetLocation(n.Location())
	return c
}

// counted returns n with its cost counted, unless that is nothing.
func counted(n ast.Node) ast.Node {
	switch n := n.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NilNode, *ast.StringNode, *ast.PredicateNode:
		return n
	}
	return around(costName, n)
}

func (p *patcher) binary(n *ast.BinaryNode) {
	switch n.Operator {
	case "and", "&&", "or", "||":
		n.Left, n.Right = around(boolName, n.Left), around(boolName, n.Right)
	case "+", "==", "!=", "<", ">", "<=", ">=", "in", "contains", "startsWith", "endsWith":
		n.Left, n.Right = counted(n.Left), counted(n.Right)
	case "??":
		soften(n.Left)
	}
}

// pattern checks a pattern that is known.
func (p *patcher) pattern(n ast.Node) {
	if s, ok := n.(*ast.StringNode); ok {
		if _, err := compilePattern(s.Value); err != nil {
			p.refuse(err.Error())
		}
	}
}

// soften makes null of what isn't there on the way to a value.
func soften(n ast.Node) {
	switch n := n.(type) {
	case *ast.ChainNode:
		soften(n.Node)
	case *ast.MemberNode:
		soften(n.Node)
	case *ast.BinaryNode:
		if n.Operator == "??" {
			soften(n.Right)
		}
	case *ast.CallNode:
		callee, ok := n.Callee.(*ast.IdentifierNode)
		switch {
		case !ok:
		case callee.Value == getName:
			callee.Value = tryName
			soften(n.Arguments[1])
		case callee.Value == atName:
			callee.Value = tryAtName
		case strings.HasPrefix(callee.Value, placeholder) && isDigit(callee.Value[len(placeholder)]):
			callee.Value = lenient + strings.TrimPrefix(callee.Value, placeholder)
		}
	}
}

// called completes the call of a function of ours.
func (p *patcher) called(n *ast.CallNode) {
	callee, ok := n.Callee.(*ast.IdentifierNode)
	if !ok || !isFunction(callee.Value) {
		if !ok || !strings.HasPrefix(callee.Value, placeholder) {
			p.refuse("only functions can be called")
		}
		return
	}
	for i := range n.Arguments {
		n.Arguments[i] = counted(n.Arguments[i])
	}
	n.Arguments = append([]ast.Node{&ast.IdentifierNode{Value: handleName}}, n.Arguments...)
}

func (p *patcher) builtin(n *ast.BuiltinNode) {
	for i, arg := range n.Arguments {
		if predicate, ok := arg.(*ast.PredicateNode); ok {
			if conditions[n.Name] {
				predicate.Node = around(boolName, predicate.Node)
			} else {
				predicate.Node = around(costName, predicate.Node)
			}
		} else if !constantTime[n.Name] {
			n.Arguments[i] = counted(arg)
		}
	}
}

// ownError returns our error within the library's, nil if there is none.
func ownError(err error) *Error {
	var library *file.Error
	var own *Error
	if errors.As(err, &library) && errors.As(library.Prev, &own) || errors.As(err, &own) {
		return own
	}
	return nil
}
