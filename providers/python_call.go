package providers

import (
	"encoding/json"
	"path/filepath"
	"strings"

	"gleitzeit/protocols"
)

// This file is python/call: a function of a module, instead of a program.

// names is a list of texts, or one text.
type names []string

// UnmarshalJSON reads either.
func (n *names) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]string)(n))
	}
	*n = make(names, 1)
	return json.Unmarshal(b, &(*n)[0])
}

// calling makes r a request to call params.Function: module:function, or
// path.py:function. Modules are looked for in the workflow's folder first, and
// what they import beside them.
func (r *pythonRequest) calling(call Call, params pythonParameters) error {
	module, function, found := strings.Cut(params.Function, ":")
	if !found || module == "" || function == "" || strings.Contains(function, ":") {
		return protocols.Errorf(protocols.TaskParameterError,
			"function: %q is not of the form module:function or path/of/file.py:function", params.Function)
	}
	r.Function, r.Kwargs, r.Bindings = function, params.Kwargs, nil
	if !strings.HasSuffix(module, ".py") && !strings.ContainsAny(module, `/\`) {
		r.Module = module
		return nil
	}
	if _, err := readFile(Call{Dir: call.Dir, Roots: call.Roots}, module); err != nil {
		return err
	}
	r.File = onDisk(call, module)
	r.Folder = filepath.Dir(r.File)
	return nil
}
