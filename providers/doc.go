// Package providers carries out method calls: it runs Python, talks to models
// and to MCP servers, or only echoes. Call sites read
//
//	set, err := providers.Open(config, providers.Options{Env: os.Getenv})
//	name, err := config.Route("python/v1", "")
//	result, err := set.Call(ctx, name, call, host)
//
// A Config says which providers there are. What it means is answered without
// opening anything (List, Route, Validate, Variables); a Set opens a provider
// when it is first called, and Close ends everything that was started.
//
//	kind       protocol    what it does                             file
//	echo       echo/v1     says what it is told, waits, fails       echo.go
//	python     python/v1   runs code on CPython, one process each   python.go, python_driver.py
//	ollama     llm/v1      Ollama's own API                         ollama.go
//	openai     llm/v1      OpenAI's API, whoever serves it          openai.go
//	anthropic  llm/v1      Anthropic's messages API                 anthropic.go
//	shell      shell/v1    runs programs and scripts                shell.go, confined.go
//	mcp        mcp/v1      tools of MCP servers, and built-in ones  mcp.go, mcp_server.go, mcp_link.go
//	http       http/v1     requests to any server                   http.go, http_request.go, http_address.go, http_answer.go
//	data       data/v1     reshapes values, with jq                 data.go, data_worker.go
//	mock       any         makes answers up                         mock.go, mock_script.go
//	remote     any         what workers elsewhere do                remote.go, workers.go
//
// What the kinds of llm/v1 share is in llm_provider.go.
//
// Promises, each with a test in conformance_test.go: a Call ends within a
// second of its context, whatever the other side does; its errors are
// *protocols.Error; what a schema should have stopped gives an error and no
// panic; and no process outlives its call, its Set, or us (child.go says what
// that means on which system).
//
// The package doesn't know that there is a log, a run or a schedule, and looks
// at the environment only through Options.Env.
package providers
