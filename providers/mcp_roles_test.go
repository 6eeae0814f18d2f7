package providers

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// This file is MCP servers of every sort, played by the test binary.

// serverRole configures this binary as a server with a fault.
func serverRole(role string) MCPServer {
	return MCPServer{Command: os.Args[0], Env: map[string]string{roleVariable: role}}
}

// actAsServer is such a server. Each has the same tools; what it does apart
// from them is its role.
func actAsServer(role string) {
	role, detail, _ := strings.Cut(role, " ")
	switch role {
	case "good":
	case "mute": // reads, never answers
		buffer := make([]byte, 4096)
		for {
			if _, err := os.Stdin.Read(buffer); err != nil {
				return
			}
		}
	case "deaf": // never reads
		select {}
	case "talker": // prints what is no message
		fmt.Print("Starting up...\n[info] listening\n{not json}\n\n   \n", strings.Repeat("x", 200_000), "\n")
		go func() {
			for {
				fmt.Println("[debug] still here")
				time.Sleep(time.Millisecond)
			}
		}()
	case "liar": // prints what looks like a message
		fmt.Print(`{"jsonrpc": oops}` + "\n")
	case "flood": // drowns its stderr
		go func() {
			for {
				fmt.Fprintln(os.Stderr, strings.Repeat("noise ", 1000))
			}
		}()
	case "slow":
		time.Sleep(500 * time.Millisecond)
	case "broken":
		fmt.Fprintln(os.Stderr, "cannot read the configuration")
		os.Exit(7)
	case "once": // starts when a file isn't there yet, and then makes it
		if _, err := os.Stat(detail); err == nil {
			fmt.Fprintln(os.Stderr, "started twice")
			os.Exit(8)
		}
		_ = os.WriteFile(detail, nil, 0o600)
	case "stubborn": // hears neither the end of stdin nor SIGTERM
		signal.Ignore(os.Interrupt, terminate)
		defer func() { select {} }()
	case "raw":
		answerRaw(detail)
		return
	case "asker":
		askLater()
		return
	case "sleeper":
	default:
		panic("unknown role " + role)
	}
	server := mcp.NewServer(&mcp.Implementation{Name: "test-" + role, Version: "1.2.3"}, nil)
	addTools(server)
	_ = server.Run(context.Background(), &mcp.StdioTransport{})
}

// answerRaw is a server by hand, whose one tool answers with the given text.
func answerRaw(answer string) {
	for scanner := bufio.NewScanner(os.Stdin); scanner.Scan(); {
		var r struct {
			ID     json.RawMessage
			Method string
		}
		if json.Unmarshal(scanner.Bytes(), &r) != nil || r.ID == nil {
			continue
		}
		body := `"error":{"code":-32601,"message":"unknown"}`
		switch r.Method {
		case "initialize":
			body = `"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"raw","version":"0"}}`
		case "tools/list":
			body = `"result":{"tools":[{"name":"say","inputSchema":{"type":"object"}}]}`
		case "tools/call":
			body = answer
		}
		fmt.Printf(`{"jsonrpc":"2.0","id":%s,%s}`+"\n", r.ID, body)
	}
}

// askLater is a server by hand with the tools wait and poke. When poke is called it
// asks a question, which is wait's: its answer is what wait answers.
func askLater() {
	var waiting json.RawMessage
	for scanner := bufio.NewScanner(os.Stdin); scanner.Scan(); {
		var r struct {
			ID     json.RawMessage
			Method string
			Params struct {
				Name string
				Meta struct{ ProgressToken string } `json:"_meta"`
			}
			Result json.RawMessage
		}
		if json.Unmarshal(scanner.Bytes(), &r) != nil || r.ID == nil {
			continue
		}
		say := func(id json.RawMessage, answer string) { fmt.Printf(`{"jsonrpc":"2.0","id":%s,%s}`+"\n", id, answer) }
		switch r.Method + r.Params.Name {
		case "initialize":
			say(r.ID, `"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"asker","version":"0"}}`)
		case "tools/list":
			say(r.ID, `"result":{"tools":[{"name":"wait","inputSchema":{"type":"object"}},{"name":"poke","inputSchema":{"type":"object"}}]}`)
		case "tools/callwait":
			waiting = r.ID
			fmt.Printf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%q,"progress":1}}`+"\n", r.Params.Meta.ProgressToken)
		case "tools/callpoke":
			say(json.RawMessage(`"question"`), `"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{}}}`)
			time.Sleep(200 * time.Millisecond) // the question is there before poke is over
			say(r.ID, `"result":{"content":[]}`)
		case "":
			say(waiting, `"result":{"structuredContent":`+string(r.Result)+`,"content":[]}`)
		default:
			say(r.ID, `"error":{"code":-32601,"message":"unknown"}`)
		}
	}
}

// toolHandler answers with what a tool function says.
type toolHandler func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error)

func addTools(server *mcp.Server) {
	schema := json.RawMessage(`{"type":"object"}`)
	tools := map[string]toolHandler{
		"say":     say,
		"die":     die,
		"sleeper": sleeper,
		"hang": func(ctx context.Context, _ *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			fmt.Fprintln(os.Stderr, "hanging")
			<-ctx.Done()
			fmt.Fprintln(os.Stderr, "was told to stop")
			return nil, ctx.Err()
		},
		"nap": func(ctx context.Context, _ *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			select { // long, but not for ever, though nobody tells it to stop
			case <-ctx.Done():
			case <-time.After(2 * time.Second):
			}
			return &mcp.CallToolResult{Content: text("awake")}, nil
		},
		"fail": func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{IsError: true, Content: text("it ", "failed")}, nil
		},
		"refuse": func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return nil, &jsonrpc.Error{Code: -32602, Message: "bad arguments", Data: json.RawMessage(`{"why":"bad"}`)}
		},
		"structured": func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{
				Content:           text("in words"),
				StructuredContent: json.RawMessage(`{"z":12345678901234567890,"a":1.0}`),
			}, nil
		},
		"pid": func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{Content: text(fmt.Sprint(os.Getpid()))}, nil
		},
		"environ": func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			b, err := json.Marshal(os.Environ())
			return &mcp.CallToolResult{Content: text(string(b))}, err
		},
		"picture": func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.ImageContent{Data: []byte("png"), MIMEType: "image/png"}}}, nil
		},
		"nothing": func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{}}, nil
		},
		"more": func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			server.AddTool(&mcp.Tool{Name: "late", InputSchema: schema}, say)
			return &mcp.CallToolResult{Content: text("added")}, nil
		},
		"large": func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{Content: text(strings.Repeat("x", 20<<20))}, nil
		},
	}
	for name, handler := range tools {
		server.AddTool(&mcp.Tool{Name: name, Description: "does " + name, InputSchema: schema}, mcp.ToolHandler(handler))
	}
}

func text(parts ...string) []mcp.Content {
	var all []mcp.Content
	for _, p := range parts {
		all = append(all, &mcp.TextContent{Text: p})
	}
	return all
}

// say answers with its argument text, or all its arguments.
func say(_ context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	var p struct{ Text *string }
	if json.Unmarshal(r.Params.Arguments, &p) == nil && p.Text != nil {
		return &mcp.CallToolResult{Content: text(*p.Text)}, nil
	}
	return &mcp.CallToolResult{Content: text(string(r.Params.Arguments))}, nil
}

// die ends the process in the middle of a call.
func die(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	fmt.Fprintln(os.Stderr, "a fatal error in the server")
	os.Exit(3)
	return nil, nil
}

// sleeper starts a process, tells both ids as progress, and never answers.
func sleeper(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for i, pid := range []int{os.Getpid(), cmd.Process.Pid} {
		err := r.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{
			ProgressToken: r.Params.GetProgressToken(), Progress: float64(i + 1), Message: fmt.Sprint(pid),
		})
		if err != nil {
			return nil, err
		}
	}
	<-ctx.Done()
	return nil, errors.New("stopped")
}
