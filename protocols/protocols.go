// Package protocols says what may be said: workflow documents, the protocols
// and methods that their tasks call, references, and errors. It does no I/O,
// starts no goroutine and knows no clock.
//
// A workflow file goes through it like this:
//
//	bytes ── Parse ──► Document ── Registry.Compile ──► Workflow ── Encode ──► the log
//	         yaml.go      node.go      keys.go, taskkeys.go   document.go      encode.go
//	         jsonfile.go               call.go, parameters.go
//	                                                         │ Expand, if it is a batch
//	                                                         ▼ batch.go
//	an ended task's result ──► Scope ── Substitute ──► parameters without references
//	                             │      template.go, reference.go, resolve.go
//	                             ├───── Evaluate ────► whether a task runs, or runs again
//	                             │      condition.go, expression.go, exprcompile.go, exprvalue.go
//	                             └───── Items ───────► the items of a foreach
//	                                    foreach.go
//
// Parse makes one tree of YAML and JSON, with the place of every value.
// Compile reads the tree by tables (language.go, taskkeys.go), one row for
// each key; Format and Schema read the same tables, so that what is accepted,
// rewritten and offered by an editor is one thing. Every problem of a file is
// told at once, each with its place (Problems).
//
// A compiled Workflow is shared by all its runs and never changes. Substitute
// cuts a task's parameters into pieces once per document and then only copies.
//
// Paths and expressions are two things: a path is looked up here, by rules of
// our own; an expression is github.com/expr-lang/expr's, which sees paths only
// as placeholders. Nothing in either knows a clock or chance, and an
// evaluation takes bounded time.
//
// Protocols are data: specs/*.json, with JSON Schemas of parameters and
// results (schema.go). Other protocols can be registered.
package protocols
