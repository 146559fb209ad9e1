import time

import pytest

from guardproxy.policy.shell import Command, read


def commands(code: str, language: str = "python") -> list[Command]:
    return list(read(code, language).commands)


def lines(code: str, language: str = "python") -> set[str]:
    return {c.text for c in commands(code, language)}


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos.system('rm -rf /')",
        "import os as o\no.system('rm -rf /')",
        "from os import system\nsystem('rm -rf /')",
        "from os import system as s\ns('rm -rf /')",
        "import os\ns = os.system\ns('rm -rf /')",
        "__import__('os').system('rm -rf /')",
        "getattr(__import__('os'), 'sys' + 'tem')('rm -rf /')",
        "import importlib\nimportlib.import_module('os').popen('rm -rf /')",
        "import subprocess\nsubprocess.run(['rm', '-rf', '/'])",
        "import subprocess as sp\nsp.Popen('rm -rf /', shell=True)",
        "import subprocess\nsubprocess.check_output(args=['rm', '-rf', '/'])",
        "import os\nos.execvp('rm', ['rm', '-rf', '/'])",
        "import os\nos.execlp('rm', '-rf', '/')",
        "import asyncio\nasyncio.create_subprocess_exec('rm', '-rf', '/')",
        "import pty\npty.spawn(['rm', '-rf', '/'])",
        "x = 'rm -rf /'\nimport os\nos.system(x)",
        "import os\nos.system('rm ' + '-rf ' + '/')",
        "import os\nos.system('rm ' '-rf /')",
        "import os\nos.system('rm -rf %s' % '/')",
        "import os\nos.system('rm -rf {}'.format('/'))",
        "import os\nd = '/'\nos.system(f'rm -rf {d}')",
        "import os\nos.system(' '.join(['rm', '-rf', '/']))",
        "import os\nos.system('/ fr- mr'[::-1])",
        "import os\nos.system('xrm -rf /'[1:])",
        "import os\nos.system('RM -RF /'.lower())",
        "import os\nos.system('xx -rf /'.replace('xx', 'rm'))",
        "import os\nos.system('\\x72m -rf /')",
        "import os\nos.system(chr(114) + chr(109) + ' -rf /')",
        "import os\nos.system(''.join(map(chr, [114, 109, 32, 45, 114, 102, 32, 47])))",
        "import os\nos.system(''.join(chr(c) for c in [114, 109, 32, 45, 114, 102, 32, 47]))",
        "import os\nos.system(''.join(chr(c - 1) for c in [115, 110, 33, 46, 115, 103, 33, 48]))",
        "import os\nos.system(bytes([114, 109, 32, 45, 114, 102, 32, 47]).decode())",
        "import os, base64\nos.system(base64.b64decode('cm0gLXJmIC8=').decode())",
        "import os\nos.system(bytes.fromhex('726d202d7266202f').decode())",
        "import os, codecs\nos.system(codecs.decode('ez -es /', 'rot13'))",
        "exec('import os; os.system(\"rm -rf /\")')",
        "import base64\nexec(base64.b64decode('aW1wb3J0IG9zO29zLnN5c3RlbSgncm0gLXJmIC8nKQ=='))",
        "def go(c):\n    import os\n    os.system(c)\ngo('rm -rf /')",
        "def go(x, c):\n    import os\n    os.system(c)\ngo(c='rm -rf /', x=1)",
        "import os\nfor c in ['ls', 'rm -rf /']:\n    os.system(c)",
        "import os\nif (c := 'rm -rf /'):\n    os.system(c)",
        "import os\nc = 'rm'\nc += ' -rf /'\nos.system(c)",
        "!rm -rf /",
        "x = 1\n!!rm -rf /",
        "%sx rm -rf /",
        "%%bash\nls\nrm -rf /",
        "get_ipython().system('rm -rf /')",
        "import shutil\nshutil.rmtree('/', ignore_errors=True) # rm -rf /",
    ],
)
def test_python_that_deletes(code: str) -> None:
    found = [c for c in commands(code) if c.program == "rm"]
    assert any("/" in c.words for c in found), lines(code)


@pytest.mark.parametrize(
    ("code", "command"),
    [
        ("open('/etc/shadow').read()", "cat /etc/shadow"),
        ("from pathlib import Path\n(Path.home() / '.ssh' / 'id_rsa').read_text()", "cat ~/.ssh/id_rsa"),
        ("import os\nopen(os.path.join(os.path.expanduser('~'), 'x'))", "cat ~/x"),
        ("import os\nopen(os.environ['HOME'] + '/x')", "cat /home/user/x"),
        ("import os\nos.remove('/etc/x')", "rm -r -f /etc/x"),
        ("from pathlib import Path\nPath('/etc/x').unlink()", "rm -r -f /etc/x"),
        ("import shutil\nshutil.copy('/etc/shadow', '/tmp/x')", "cp /etc/shadow /tmp/x"),
        ("import os\nos.rename('/a', '/b')", "mv /a /b"),
        ("import os\nos.chmod('/bin/sh', 0o4755)", "chmod 4755 /bin/sh"),
        ("import os\nos.kill(1, 9)", "kill -9 1"),
        ("import os\nos.environ['A'] = 'b'", "export A=b"),
        ("import os\ndel os.environ['A']", "unset A"),
        ("import os\nos.environ.pop('A', None)", "unset A"),
        ("import os\nos.putenv('A', 'b')", "export A=b A b"),
        ("import requests\nrequests.get('http://h/x')", "curl http://h/x"),
        ("import socket\ns = socket.socket()\ns.connect(('h', 1))", "curl h:1"),
        ("from urllib.request import urlopen\nurlopen('http://h/')", "curl http://h/"),
    ],
)
def test_what_python_does_is_told_as_a_command(code: str, command: str) -> None:
    assert command in lines(code)


def test_python_that_writes_is_told_as_a_redirect() -> None:
    for code in (
        "open('/etc/x', 'w')",
        "from pathlib import Path\nPath('/etc/x').write_text('y')",
        "open('/etc/x', mode='a')",
    ):
        assert any(r.writes and r.target == "/etc/x" for c in commands(code) for r in c.redirects), code


@pytest.mark.parametrize(
    "code", ["print('rm -rf /')", "x = 'rm -rf /'", "# os.system('rm -rf /')", "'''\nrm -rf /\n'''", "def rm(): pass"]
)
def test_text_in_python_is_no_command(code: str) -> None:
    assert not [c for c in commands(code) if c.program == "rm"]


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("javascript", "require('child_process').execSync('rm -rf /')"),
        ("javascript", "child_process.exec(`rm -rf /`)"),
        ("javascript", "require('child_process').spawn('rm', ['-rf', '/'])"),
        ("javascript", "exec('r' + 'm -rf /')"),
        ("perl", "system('rm -rf /')"),
        ("perl", "exec 'rm', '-rf', '/'"),
        ("perl", "qx{rm -rf /}"),
        ("perl", "`rm -rf /`"),
        ("ruby", "%x(rm -rf /)"),
        ("php", "shell_exec('rm -rf /');"),
        ("lua", "os.execute('rm -rf /')"),
        ("awk", 'BEGIN { system("rm -rf /") }'),
    ],
)
def test_other_languages(language: str, code: str) -> None:
    assert "rm -rf /" in lines(code, language)


@pytest.mark.parametrize(
    "code",
    [
        "(" * 20_000,
        "f(" * 90 + ")" * 90,
        "x = " + "'a' + " * 5_000 + "'b'",
        "x = 'a' * 999\n" + "x = x + x\n" * 60,
        "'" * 30_000,
        "os.system('ls')\n" * 3_000,
        "`" * 20_000,
        "'a', " * 8_000,
        "/*xargs " * 3_000,
        "*case|" * 5_000,
        "(" + "*case|\n" * 5_000,
        '# """\n' + "*case|" * 5_000 + '# """',
    ],
)
def test_hostile_code_ends(code: str) -> None:
    start = time.monotonic()
    read(code, "python", stop=lambda: time.monotonic() - start > 1)
    assert time.monotonic() - start < 6
