package protocols

import (
	"os/exec"
	"strings"
	"testing"
)

// What is put into a script comes out as it went in, wherever it stands.
func TestShellScriptValues(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("SKIPPED: there is no sh")
	}
	values := []string{"plain", "two  words", "$(touch /tmp/no) `id`", `"; id; "`, "'; id; '", `\`, "*", "-n", "~", "{a,b}", "line\nline", "${HOME}", "!x", ""}
	for _, script := range []string{
		`printf '[%s]' REF`,
		`printf "[%s]" "REF"`,
		`printf '[%s]' 'REF'`,
		`printf '[REF]'`,
		"cat <<END\n[REF]\nEND\n",
		`x=REF; printf '[%s]' "$x"`,
		`printf '[%s]' "$(printf '%s' REF; printf x)" | sed '$s/x]$/]/'`,
		`f() { printf '[%s]' "$1"; }; f REF`,
		`for v in REF; do printf '[%s]' "$v"; done # REF`,
		`case REF in "$REAL") printf '[%s]' REF;; esac`,
		`sh -c 'printf "[%s]" "$1"' sh REF`,
		`if [ x"REF" = x"$REAL" ]; then printf '[%s]' "a""REF""b" | sed -e '1s/^\[a/[/' -e '$s/b]$/]/'; fi`,
	} {
		for _, shell := range []string{"sh", "bash"} {
			if _, err := exec.LookPath(shell); err != nil {
				continue
			}
			text, err := ShellScript(shell, strings.ReplaceAll(script, "REF", "__gz_ref_0__"), []string{"__gz_ref_0__"})
			if err != nil {
				t.Errorf("%s: %v", script, err)
				continue
			}
			for _, value := range values {
				if strings.HasPrefix(script, "printf '[REF]'") && strings.ContainsAny(value, `\%`) {
					continue // printf reads its format itself
				}
				cmd := exec.Command(shell, "-e", "-c", text)
				cmd.Env = []string{"__gz_ref_0__=" + value, "REAL=" + value, "PATH=/usr/bin:/bin"}
				out, err := cmd.CombinedOutput()
				if got := strings.TrimSuffix(string(out), "\n"); err != nil || got != "["+value+"]" {
					t.Errorf("%s of %s with %q: %q, %v", shell, text, value, got, err)
				}
			}
		}
	}
}

// Where a shell would take a value for code there is no place for a reference.
func TestShellScriptRefuses(t *testing.T) {
	for script, want := range map[string]string{
		"echo $((REF + 1))":                   "in arithmetic",
		"((x = REF))":                         "in arithmetic",
		"let x=REF":                           "in arithmetic",
		"for ((i=0; i<REF; i++)); do :; done": "in arithmetic",
		"[[ REF -eq 1 ]]":                     "in arithmetic",
		"[[ -v REF ]]":                        "name of a variable",
		"test -v REF":                         "name of a variable",
		"printf -v REF x":                     "name of a variable",
		"declare -i n=REF":                    "behind declare",
		"declare REF":                         "behind declare",
		"declare -i n; n=REF":                 "declare -i",
		"a[REF]=1":                            "in a subscript",
		"echo ${a[REF]}":                      "inside of another",
		"echo ${a:-REF}":                      "inside of another",
		"eval REF":                            "behind eval",
		"eval \"echo REF\"":                   "behind eval",
		"command eval REF":                    "behind eval",
		"trap REF EXIT":                       "behind trap",
		"sh -c REF":                           "program's text behind -c",
		"bash -ec 'echo REF'":                 "program's text behind -ec",
		"xargs -n1 sh -c \"echo REF\"":        "program's text behind -c",
		"python3 -c 'print(\"REF\")'":         "program's text behind -c",
		"perl -ne \"REF\"":                    "program's text behind -ne",
		"echo `cat REF`":                      "backquotes",
		"echo \\REF":                          "behind a backslash",
		"echo \"\\REF\"":                      "behind a backslash",
		"echo $'REF'":                         "in $'…'",
		"cat <<'END'\nREF\nEND":               "whose mark is quoted",
		"cat <<REF\nx\nREF":                   "",
		"REF=1":                               "in a name",
		"REF() { :; }":                        "",
		"PS4=REF":                             "in PS4",
		"echo REF; fi":                        "line 1",
	} {
		text, err := ShellScript("bash", strings.ReplaceAll(script, "REF", "__gz_ref_0__"), []string{"__gz_ref_0__"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q; got %s", script, err, want, text)
		}
	}
	if _, err := ShellScript("fish", "echo __gz_ref_0__", []string{"__gz_ref_0__"}); err == nil {
		t.Error("a shell that nobody can read")
	}
	if text, err := ShellScript("fish", "echo x", []string{"__gz_ref_0__"}); err != nil || text != "echo x" {
		t.Errorf("%s, %v", text, err)
	}
	for script, fine := range map[string]bool{"a=(1 2); echo ${a[0]}": true, "if true; then": false, "[[ a == b ]]": true, "echo $(": false} {
		if err := CheckShell("sh", script); (err == nil) != fine {
			t.Errorf("%s: %v", script, err)
		}
	}
}
