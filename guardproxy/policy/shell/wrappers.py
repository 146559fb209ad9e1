"""Programs that run another program: where the inner command line starts.

Options that take a value are listed, because a value mistaken for the program would hide the program.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from guardproxy.policy.decode import base64_texts

Words = Sequence[str]


@dataclass(frozen=True, slots=True)
class Wrapper:
    """`short` letters and `long` names take a value; `skip` positionals come before the inner command."""

    short: str = ""
    long: frozenset[str] = frozenset()
    skip: int = 0
    assignments: bool = False


def _wrapper(short: str = "", long: str = "", skip: int = 0, assignments: bool = False) -> Wrapper:
    return Wrapper(short, frozenset(long.split()), skip, assignments)


_WRAPPERS: Mapping[str, Wrapper] = {
    "sudo": _wrapper("ugpCcDhRrtTU",
    "user group prompt close-from chdir host chroot role type command-timeout other-user preserve-env",
    assignments=True),
    "doas": _wrapper("uC"),
    "env": _wrapper("uCS", "unset chdir", assignments=True),
    "nohup": _wrapper(),
    "nice": _wrapper("n", "adjustment"),
    "ionice": _wrapper("cnpP", "class classdata pid"),
    "chrt": _wrapper("TPD", "sched-runtime sched-period sched-deadline", skip=1),
    "taskset": _wrapper("p", skip=1),
    "time": _wrapper("fo", "format output"),
    "timeout": _wrapper("ks", "kill-after signal", skip=1),
    "stdbuf": _wrapper("ioe", "input output error"),
    "setsid": _wrapper(),
    "setarch": _wrapper("", skip=1),
    "linux32": _wrapper(),
    "linux64": _wrapper(),
    "command": _wrapper(),
    "builtin": _wrapper(),
    "exec": _wrapper("a"),
    "coproc": _wrapper(),
    "then": _wrapper(),
    "do": _wrapper(),
    "else": _wrapper(),
    "chroot": _wrapper("", "userspec groups", skip=1),
    "unshare": _wrapper("SGR", "setuid setgid root wd map-user map-group propagation"),
    "nsenter": _wrapper("tSG", "target setuid setgid"),
    "busybox": _wrapper(),
    "toybox": _wrapper(),
    # `-e`, `-i`, `-l` and `--replace` take a value only where it is glued on; J, R and S are BSD's.
    "xargs": _wrapper("aEIJLnPRsSd", "arg-file max-args max-procs max-chars delimiter process-slot-var"),
    "parallel": _wrapper("aIjLnNS", "arg-file jobs max-args sshlogin colsep delay"),
    "watch": _wrapper("nq", "interval"),
    "strace": _wrapper("aEeIoOpPsSuUX"),
    "ltrace": _wrapper("aAeFnopsu"),
    "gdb": _wrapper("x", "command"),
    "flock": _wrapper("wE", "timeout wait conflict-exit-code", skip=1),
    "systemd-run": _wrapper("pEGMHu",
    "unit property setenv slice on-active on-calendar working-directory uid gid description"),
    "systemd-inhibit": _wrapper("", "what who why mode"),
    "firejail": _wrapper(),
    "bwrap": _wrapper("", "chdir uid gid unshare-user"),
    "proot": _wrapper("rbwqv"),
    "fakeroot": _wrapper("ils"),
    "dbus-run-session": _wrapper(),
    "xvfb-run": _wrapper("efnps"),
    "torsocks": _wrapper(),
    "proxychains": _wrapper("f"),
    "proxychains4": _wrapper("f"),
    "caffeinate": _wrapper("tw"),
    "arch": _wrapper(),
    "uv": _wrapper("p", "python with directory project"),
    "poetry": _wrapper("C", "directory"),
    "pipenv": _wrapper(),
    "direnv": _wrapper("", skip=1),
    "dotenv": _wrapper("f"),
    "winpty": _wrapper(),
    "wsl": _wrapper("du", "distribution user cd"),
    "start-stop-daemon": _wrapper("xnpugc"),
    "entr": _wrapper(),
    "script": _wrapper("ceEfmOoITB"),
    "doppler": _wrapper("pc"),
    "op": _wrapper(),
    "pkexec": _wrapper("", "user"),
    "run0": _wrapper("u", "user group chdir"),
    "gsudo": _wrapper(),
    "please": _wrapper("u", "user"),
    "setpriv": _wrapper("", "reuid regid groups inh-caps ambient-caps bounding-set securebits"),
    "prlimit": _wrapper("p", "pid"),
    "numactl": _wrapper("CmNiplP", "cpunodebind membind interleave physcpubind"),
    "cgexec": _wrapper("g"),
    "chpst": _wrapper("uUbemdoptrc/"),
    "daemonize": _wrapper("acepoluE"),
    "unbuffer": _wrapper(),
    "rlwrap": _wrapper("bcCDfHlpqrsSt"),
    "perf": _wrapper("eop", "event output pid"),
    "valgrind": _wrapper(),
    "ccache": _wrapper(),
    "hyperfine": _wrapper("wmMrpPsn"),
    "catchsegv": _wrapper(),
    "eatmydata": _wrapper(),
    "with-contenv": _wrapper(),
    "gosu": _wrapper(skip=1),
    "su-exec": _wrapper(skip=1),
    "tini": _wrapper("pe"),
    "dumb-init": _wrapper("r"),
    "npx": _wrapper("pc"),
    "bunx": _wrapper(),
}  # fmt: skip
_RUN_WORDS = frozenset({"run", "exec", "stat", "record", "--"})
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")

_CONTAINER_VALUES = frozenset(
    "-v --volume -e --env -u --user -w --workdir -p --publish --name --network --net -h --hostname --entrypoint "
    "--mount -l --label --env-file "
    "--add-host --cpus -m --memory --platform --gpus --device --cap-add --security-opt --restart -n --namespace "
    "-c --container --context "
    "--kubeconfig --pull --runtime --shm-size --tmpfs --ulimit --dns --ipc --pid --index".split()
)
_GIT_COMMAND_KEYS = re.compile(
    r"(?i)(pager|editor|sshcommand|fsmonitor|askpass|textconv|external|helper|clean|smudge|process|command|^alias)\b"
)
_SSH_VALUES = "BbcDEeFIiJLlmOopQRSWw"


def inner_lines(program: str, words: Words) -> Iterator[list[str]]:
    """The command lines, as words, that this program would run from its own words."""
    if wrapper := _WRAPPERS.get(program):
        yield from _unwrapped(wrapper, words)
    elif program in ("docker", "podman", "nerdctl", "kubectl", "oc", "docker-compose", "lxc", "crictl", "ctr"):
        yield from _in_container(words)
    elif program == "find":
        yield from _find_actions(words)
    elif program in ("vagrant", "gcloud", "multipass"):
        yield from ([w] for flag, w in pairwise(words) if flag in ("-c", "--command"))


def inner_scripts(program: str, words: Words) -> Iterator[str]:
    """Shell scripts, as text, that this program would run from its own words."""
    match program:
        case "eval" | "trap" | "ssh" | "parallel" | "watch" | "wsl":
            yield from _joined_scripts(program, words)
        case "su" | "runuser" | "script" | "flock" | "screen" | "tmux" | "at" | "scriptreplay" | "sg" | "newgrp":
            yield from _option_values(words, "-c", "--command")
            if program in ("tmux", "screen"):
                yield from (w for w in words if " " in w)
        case "env":
            yield from _option_values(words, "-S", "--split-string")
        case "alias":
            yield from (w.partition("=")[2] for w in words if "=" in w)
        case "git":
            yield from (
                m[1]
                for w in words
                if (
                    m := re.match(
                        r"(?:alias\.[\w-]+|core\.\w+|[\w.]*command|[\w.]*editor)=!?(.+)", w, re.DOTALL | re.IGNORECASE
                    )
                )
            )
            yield from (w.lstrip("!") for k, w in pairwise(words) if _GIT_COMMAND_KEYS.search(k) and "config" in words)
            yield from (w[1:] for w in words if w.startswith("!"))
            yield from _option_values(words, "-x", "--exec")
        case "tar" | "gtar" | "bsdtar":
            yield from (
                m[1]
                for w in words
                if (m := re.search(r"(?:exec|--to-command|--use-compress-program|--rsh-command)=(.+)", w))
            )
            yield from _option_values(words, "-I", "--to-command")
        case (
            "vim"
            | "vi"
            | "nvim"
            | "ex"
            | "ed"
            | "less"
            | "more"
            | "man"
            | "ftp"
            | "gdb"
            | "mysql"
            | "psql"
            | "sqlite3"
            | "emacs"
        ):
            yield from (
                m[1] for w in words for m in re.finditer(r"(?:^|[:+;\s])(?:silent\s+)?\\?!\s*([^|]+)|", w) if m[1]
            )
            yield from (
                m[2] for w in words if (m := re.search(r"(?:system|\.shell|shell|job_start)\s*\(?\s*(['\"]?)(.+)\1", w))
            )
        case "sed":
            yield from _sed_commands(words)
        case "rsync" | "scp" | "sftp":
            yield from _option_values(words, "-e", "--rsh")
        case "zip":
            yield from _option_values(words, "-TT", "--unzip-command")
        case "make" | "gmake":
            yield from (w.partition("=")[2] for w in words if w.startswith("SHELL="))
            yield from (m[1] for w in words if (m := re.search(r"\$\(shell\s+(.+?)\)", w)))
            yield from (w.removeprefix("--eval=").partition(";")[2] for w in words if w.startswith("--eval"))
        case "expect":
            yield from (w.replace("spawn ", "", 1) for w in _option_values(words, "-c", "-c"))
        case "socat":
            yield from (m[1] for w in words if (m := re.match(r"(?i)(?:exec|system):(.+)", w)))
        case "cmd" | "cmd.exe":
            yield " ".join(w for w in words if not re.fullmatch(r"/[A-Za-z]", w))
        case "powershell" | "pwsh" | "powershell.exe":
            yield " ".join(w for w in words if not w.startswith("-"))
            encoded = (v for f, v in pairwise(words) if re.fullmatch(r"-(?:e|ec|en\w*)", f, re.IGNORECASE))
            yield from (text for value in encoded for text in base64_texts(value))


def _sed_commands(words: Words) -> Iterator[str]:
    """The `e` command, and the `e` flag of `s`, run the shell."""
    for step in (s.strip() for word in words for s in re.split(r"[;\n{}]", word)):
        if called := re.match(r"(?:\d+|\$|/[^/]*/)?\s*e\s+(.+)", step):
            yield called[1]
        elif step.startswith("s") and "e" in step[-4:] and len(parts := step[2:].split(step[1:2])) == 3:
            yield parts[1]


def _joined_scripts(program: str, words: Words) -> Iterator[str]:
    if program == "ssh":
        rest = list(_unwrapped(Wrapper(short=_SSH_VALUES, skip=1), words))
        yield from (" ".join(line) for line in rest)
        yield from (
            w.partition("=")[2] for w in words if re.match(r"(?i)(proxycommand|localcommand|remotecommand)=", w)
        )
        return
    if program == "eval":
        yield " ".join(words)
        return
    if program == "trap":
        yield from words[:1]
        return
    yield from (" ".join(line) for line in _unwrapped(_WRAPPERS[program], words))


def _option_values(words: Words, short: str, long: str) -> Iterator[str]:
    for word, following in pairwise([*words, ""]):
        if word in (short, long):
            yield following
        elif word.startswith(long + "="):
            yield word.partition("=")[2]
        elif word.startswith(short) and len(short) == 2 and len(word) > 2 and not word.startswith("--"):
            yield word[2:]
        elif re.fullmatch(rf"-[A-Za-z]+{short[-1]}", word) and len(short) == 2:
            yield following


def _unwrapped(wrapper: Wrapper, words: Words) -> Iterator[list[str]]:
    at = _after_options(wrapper, words)
    at += wrapper.skip
    while at < len(words) and wrapper.assignments and _ASSIGNMENT.match(words[at]):
        at += 1
    rest = list(words[at:])
    while rest and rest[0] in _RUN_WORDS:
        rest.pop(0)
    if rest:
        yield rest
    if unsure := _after_unknown_option(wrapper, words[:at], rest):
        yield unsure


def _after_options(wrapper: Wrapper, words: Words) -> int:
    at = 0
    while at < len(words):
        word = words[at]
        if word == "--":
            return at + 1
        if word == "-" and wrapper.assignments:
            at += 1
            continue
        if wrapper.assignments and _ASSIGNMENT.match(word):
            at += 1
        elif word.startswith("--"):
            at += 2 if _takes_value(wrapper, word[2:]) else 1
        elif word.startswith("-") and len(word) > 1:
            at += (
                2
                if wrapper.short and word[-1] in wrapper.short and not any(c in wrapper.short for c in word[1:-1])
                else 1
            )
        else:
            break
    return at


def _takes_value(wrapper: Wrapper, name: str) -> bool:
    """Long options may be shortened to any unique beginning."""
    return "=" not in name and len(name) > 1 and any(long.startswith(name) for long in wrapper.long)


def _after_unknown_option(wrapper: Wrapper, before: Words, rest: list[str]) -> list[str]:
    """The line one word later, when the last word before it is an option that this table does not know."""
    last = before[-1] if before else ""
    unknown = last.startswith("--") and "=" not in last and len(last) > 2
    return rest[1:] if unknown and len(rest) > 1 and not wrapper.skip else []


def _in_container(words: Words) -> Iterator[list[str]]:
    verbs = [i for i, w in enumerate(words) if w in ("run", "exec", "debug")]
    if not verbs:
        return
    at = verbs[0] + 1
    while at < len(words) and words[at].startswith("-") and words[at] != "--":
        at += 2 if words[at] in _CONTAINER_VALUES else 1
    rest = list(words[at + 1 :])
    while rest and (rest[0] == "--" or rest[0] in _CONTAINER_VALUES):
        rest = rest[1 if rest[0] == "--" else 2 :]
    if rest:
        yield rest


def _find_actions(words: Words) -> Iterator[list[str]]:
    for at, word in enumerate(words):
        if word in ("-exec", "-execdir", "-ok", "-okdir"):
            ends = [i for i in range(at + 1, len(words)) if words[i] in (";", "+", "\\;")]
            yield list(words[at + 1 : ends[0] if ends else len(words)])
