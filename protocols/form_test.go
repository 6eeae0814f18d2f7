package protocols

import (
	"encoding/json"
	"strings"
	"testing"
)

const aForm = `{"type":"object","properties":{
	"name":{"type":"string","minLength":2},"age":{"type":"integer","minimum":0},"ok":{"type":"boolean","default":true},
	"mail":{"type":"string","format":"email"},"page":{"type":"string","format":"uri"},"day":{"type":"string","format":"date"},
	"at":{"type":"string","format":"date-time"},"color":{"type":"string","enum":["red","green"]},
	"sizes":{"type":"array","items":{"type":"string","enum":["S","M"]}}},"required":["color","name"]}`

func TestFormFields(t *testing.T) {
	names, refused := FormFields(json.RawMessage(aForm))
	if got := strings.Join(names, " "); refused != nil || got != "color name age at day mail ok page sizes" {
		t.Errorf("%s %v", got, refused)
	}
	for _, bad := range []string{`{"type":"strange"}`, `3`, `{"type":"string","pattern":"("}`} {
		if _, refused := FormFields(json.RawMessage(bad)); refused == nil {
			t.Errorf("%s passes for a form", bad)
		}
	}
}

func TestFillForm(t *testing.T) {
	for _, c := range []struct{ form, data, typed, want string }{
		{aForm, ``, "name=Ada color=red", `{"color":"red","name":"Ada","ok":true}`},
		{aForm, `{"name":"Ada","color":"red"}`, "color=green ok=no age=36", `{"age":36,"color":"green","name":"Ada","ok":false}`},
		{aForm, ``, "name=Ada color=red sizes=S,M", `{"color":"red","name":"Ada","ok":true,"sizes":["S","M"]}`},
		{aForm, ``, `name=Ada color=red sizes=["M"] age=36.0`, `{"age":36.0,"color":"red","name":"Ada","ok":true,"sizes":["M"]}`},
		{aForm, ``, "name=42 color=red mail=a@b.c page=https://x.y day=2026-12-24 at=2026-12-24T18:00:00Z",
			`{"at":"2026-12-24T18:00:00Z","color":"red","day":"2026-12-24","mail":"a@b.c","name":"42","ok":true,"page":"https://x.y"}`},
		{aForm, ``, "", `the answer doesn't fit: the answer needs color; the answer needs name`},
		{aForm, `{"name":"A","color":"blue","age":-1}`, "", `age|name|color must be one of red, green, not the text "blue"`},
		{aForm, ``, "nam=Ada age=old ok=perhaps color=red", `age must be a whole number, not old; there is no field nam (did you mean name?); ok must be true or false, not perhaps`},
		{aForm, ``, "name=Ada color=red mail=nobody page=x day=soon at=2026", `mail must be an email address|page must be a URI|day must be a date|at must be a time`},
		{aForm, ``, "name=Ada color=red sizes=S,L", `sizes[1]|S, M`},
		{aForm, `[1]`, "", `the answer must be a map, not a list`},
		{aForm, `[1]`, "name=Ada", `has no fields`},
		{aForm, `nonsense`, "", `not JSON`},
		{`{}`, `3`, "", `3`},
		{`{"type":"object"}`, ``, "", `{}`},
		{`{"type":"object"}`, ``, "any=thing", `{"any":"thing"}`},
		{`{"type":"boolean"}`, ``, "", `must be`},
	} {
		typed := map[string]string{}
		for _, one := range strings.Fields(c.typed) {
			name, value, _ := strings.Cut(one, "=")
			typed[name] = value
		}
		raw, refused := FillForm(json.RawMessage(c.form), json.RawMessage(c.data), typed)
		got := string(raw)
		if refused != nil {
			got = refused.Message
		}
		for want := range strings.SplitSeq(c.want, "|") {
			if !strings.Contains(got, want) || refused == nil && got != want {
				t.Errorf("%s and %q: %s, want %s", c.data, c.typed, got, want)
			}
		}
	}
}
