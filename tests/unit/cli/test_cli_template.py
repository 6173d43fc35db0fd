from __future__ import annotations

import pytest

from wherry.cli.options import UsageError
from wherry.cli.template import Template, compile_format

_DATA = {
    "Name": "/box",
    "State": {"Running": True, "ExitCode": 0, "Health": None},
    "Config": {"Cmd": ["sh", "-c"], "Labels": {"b": "2", "a.b/c": "1"}, "Tty": False, "Env": None},
    "Networks": {"bridge": {"IP": "1.2.3.4"}, "own": {"IP": "5.6.7.8"}},
    "Size": 5,
}


# Each expectation is what docker 28's --format prints for the same data.
@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.Name}}", "/box"),
        ("{{ .State.Running }} {{.State.ExitCode}}", "true 0"),
        ("{{json .Config.Cmd}}", '["sh","-c"]'),
        ("{{.Config.Cmd}}", "[sh -c]"),
        ("{{.Config.Labels}}", "map[a.b/c:1 b:2]"),
        ('{{index .Config.Labels "a.b/c"}}', "1"),
        ("{{index .Config.Cmd 1}}", "-c"),
        ("{{.State.Health}}", "<no value>"),
        ("{{.State.Health.Status}}", "<no value>"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .Config.Tty}}a{{else if .State.Running}}b{{else}}c{{end}}", "b"),
        ("{{if and .State.Running (eq .State.ExitCode 0)}}fine{{end}}", "fine"),
        ("{{if not .Config.Env}}none{{end}}", "none"),
        ("{{range .Networks}}{{.IP}} {{end}}", "1.2.3.4 5.6.7.8 "),
        ("{{range $k, $v := .Networks}}{{$k}}={{$v.IP}};{{end}}", "bridge=1.2.3.4;own=5.6.7.8;"),
        ("{{range $i, $x := .Config.Cmd}}{{$i}}{{$x}}{{end}}", "0sh1-c"),
        ("{{range .Config.Env}}x{{else}}empty{{end}}", "empty"),
        ("{{with .State}}{{.ExitCode}}{{$.Name}}{{end}}", "0/box"),
        ('{{join .Config.Cmd ","}}', "sh,-c"),
        ('{{.Name | printf "%s!" | upper}}', "/BOX!"),
        ("{{$x := .Size}}{{$x}}", "5"),
        ("{{len .Config.Cmd}}{{slice .Name 1}}", "2box"),
        ('{{printf "%q %5d|%-5s|" .Name .Size "x"}}', '"/box"     5|x    |'),
        ("a  {{- .Size -}}  b", "a5b"),
        ("{{/* nothing */}}x", "x"),
        ('{{"a\\"b"}} {{`raw`}}', 'a"b raw'),
        ("{{gt .Size 4}} {{le .Size 4}} {{ne .Size 4}}", "true false true"),
        ("{{println .Size}}", "5\n"),
        ('{{lower "AB"}}', "ab"),
        ('{{(index .Networks "own").IP}}', "5.6.7.8"),
        ('{{(index .Networks "no").IP}}', "<no value>"),
        ("{{(.State).ExitCode}}{{and .Name (not .Config.Tty)}}", "0true"),
        ('{{index (.Config.Labels) "b"}}', "2"),
        ("no template", "no template"),
    ],
)
def test_templates(template: str, text: str) -> None:
    assert Template(template).render(_DATA) == text


def test_tabs_and_lines_of_the_command_line() -> None:
    assert compile_format(r"{{.Size}}\t{{.Name}}\n").render(_DATA) == "5\t/box\n"


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{{.Nme}}", "no field Nme"),
        ("{{.Name.First}}", "can't evaluate field First"),
        ("{{nosuch .Name}}", 'function "nosuch" not defined|only a function'),
        ("{{$x}}", "undefined variable"),
        ("{{if .Name}}x", "without"),
        ("x{{end}}", "unexpected"),
        ("{{.Name", "unclosed action"),
        ("{{(.Name}}", "unclosed left paren"),
        ("{{.Name)}}", r"unexpected \)"),
        ("{{.Name | }}", "missing value"),
        ("{{}}", "missing value"),
        ("{{range .Size}}x{{end}}", "can't iterate"),
        ("{{index .Config.Cmd 9}}", "out of range"),
        ("{{join .Config.Cmd}}", "error calling join"),
        ("{{.Name .Size}}", "only a function"),
        ("{{#}}", "unexpected"),
    ],
)
def test_mistakes_are_one_sentence(template: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Template(template).render(_DATA)
