"""Completion scripts for bash and zsh, made from the operations table.

The words are in the script; names of disks, targets and initiators are asked from the daemon.
"""

from __future__ import annotations

from argparse import Action, ArgumentParser
from collections.abc import Iterator, Mapping, Sequence

from ..control.operations import OPERATIONS, Argument, Kind, Operation

SHELLS = ("bash", "zsh")
COMMON_FLAGS = ("--json", "--debug", "--control-socket", "--help")

_ASKED = {Kind.DISK: "disk", Kind.TARGET: "target", Kind.INITIATOR: "initiator"}
_HIDDEN = ("names",)


def completion_script(shell: str, local: Mapping[str, ArgumentParser]) -> str:
    """The script; local are the verbs that are no operations, with their parsers."""
    operations = [operation for operation in OPERATIONS.values() if operation.name not in _HIDDEN]
    nouns: dict[str, list[str]] = {}
    for operation in operations:
        if len(operation.words) == 2:
            nouns.setdefault(operation.words[0], []).append(operation.words[1])
    single = [operation.name for operation in operations if len(operation.words) == 1]
    arguments = [argument for operation in operations for argument in operation.arguments]
    valued = {command_flag(a) for a in arguments if not a.positional and a.kind is not Kind.FLAG}
    valued |= {_flag_of(action) for parser in local.values() for action in _flags(parser) if action.nargs != 0}
    script = _BASH
    for mark, text in (
        ("@SHELL@", shell),
        ("@NOUNS@", "|".join(nouns)),
        ("@VALUED@", "|".join(sorted(valued))),
        ("@FIRST@", " ".join([*nouns, *single, *local])),
        ("@VERBS@", "\n".join(f"        {noun}/) words='{' '.join(verbs)}' ;;" for noun, verbs in nouns.items())),
        ("@FLAGS@", "\n".join(_flag_lines(operations, local))),
        (
            "@VALUES@",
            "\n".join(
                [
                    *(line for operation in operations for line in _value_lines(operation)),
                    *(line for verb, parser in local.items() for line in _local_value_lines(verb, parser)),
                ]
            ),
        ),
    ):
        script = script.replace(mark, text)
    return script if shell == "bash" else _ZSH + script + _ZSH_END


def command_flag(argument: Argument) -> str:
    """The flag as it is typed: a secret is read from a file."""
    return argument.flag + "-file" if argument.kind is Kind.SECRET else argument.flag


def _flags(parser: ArgumentParser) -> list[Action]:
    return [action for action in parser._actions if action.option_strings]


def _flag_of(action: Action) -> str:
    """--help, of -h and --help."""
    return max(action.option_strings, key=len)


def _flag_lines(operations: Sequence[Operation], local: Mapping[str, ArgumentParser]) -> Iterator[str]:
    for operation in operations:
        own = [command_flag(argument) for argument in operation.arguments if not argument.positional]
        yield f"        {'/'.join(operation.words)}) flags='{' '.join([*own, *COMMON_FLAGS])}' ;;"
    for verb, parser in local.items():
        yield f"        {verb}) flags='{' '.join(map(_flag_of, _flags(parser)))}' ;;"


def _value_lines(operation: Operation) -> Iterator[str]:
    """What completes each argument: `noun/verb/N` is the Nth word, `noun/verb/--flag` the flag's value."""
    position = 0
    for argument in operation.arguments:
        where = f"{'/'.join(operation.words)}/{position if argument.positional else command_flag(argument)}"
        position += argument.positional
        choices = _choices(argument)
        if choices:
            yield f"        {where}) {choices} ;;"


def _local_value_lines(verb: str, parser: ArgumentParser) -> Iterator[str]:
    """The same of a verb that is no operation."""
    flags = _flags(parser)
    words = [action for action in parser._actions if action not in flags]
    places = [*((_flag_of(action), action) for action in flags), *enumerate(words)]
    for place, action in places:
        if action.choices:
            yield f"        {verb}/{place}) words='{' '.join(map(str, action.choices))}' ;;"


def _choices(argument: Argument) -> str:
    if argument.choices:
        return f"words='{' '.join(argument.choices)}'"
    if argument.kind in _ASKED:
        return f"words=$(tcmu-gluster names {_ASKED[argument.kind]} 2>/dev/null)"
    if argument.kind is Kind.URI:
        return "words='gluster:// file:/// memory:'"
    if argument.kind in (Kind.FILE, Kind.SECRET):
        return 'words=$(compgen -f -- "$current")'
    if argument.kind is Kind.RULE:
        return f'words="all $(tcmu-gluster names {_ASKED[Kind.INITIATOR]} 2>/dev/null)"'
    return ""


_BASH = """\
# tcmu-gluster completion. Try it: source <(tcmu-gluster completion @SHELL@)
_tcmu_gluster() {
    local current previous where='' count=0 word words='' flags='' index
    local -a line=("${COMP_WORDS[@]}")
    local at=$COMP_CWORD
    if [[ -n ${BASH_VERSION-} && -n ${COMP_LINE-} ]]; then  # bash takes an IQN apart at its colons
        line=()
        read -ra line <<<"${COMP_LINE:0:COMP_POINT}x"  # so that a blank at the end begins a word
        at=$((${#line[@]} - 1))
        line[at]=${line[at]%x}
    fi
    current=${line[at]}
    previous=${line[at-1]}
    for ((index = 1; index < at; index++)); do
        word=${line[index]}
        case $word in
            @VALUED@) index=$((index + 1)); continue ;;
            -*) continue ;;
        esac
        case $where in
            '') where=$word ;;
            @NOUNS@) where=$where/$word ;;
            *) count=$((count + 1)) ;;
        esac
    done
    case $where in
        '') words='@FIRST@' ;;
    esac
    case $where/ in
@VERBS@
    esac
    case $where in
@FLAGS@
    esac
    case $previous in
        @VALUED@) count=$previous; flags='' ;;
    esac
    case $where/$count in
@VALUES@
    esac
    case $current in -*) words=$flags ;; esac
    words=${words:-$flags}
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    if [[ -n ${BASH_VERSION-} && $current == *:* && $COMP_WORDBREAKS == *:* ]]; then  # and wants the last piece alone
        word=${current%"${current##*:}"}
        COMPREPLY=("${COMPREPLY[@]#"$word"}")
    fi
}
complete -o default -F _tcmu_gluster tcmu-gluster
"""

_ZSH = """\
#compdef tcmu-gluster
(( $+functions[compdef] )) || { autoload -U +X compinit && compinit }
autoload -U +X bashcompinit && bashcompinit
"""
_ZSH_END = """\
# As a file _tcmu-gluster of fpath it is read by the first completion, which it then has to answer.
[[ ${zsh_eval_context[-1]} == loadautofunc ]] && _bash_complete -o default -F _tcmu_gluster
"""
