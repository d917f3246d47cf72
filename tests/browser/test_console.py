"""Consoles by API: tokens, 200 of them one after the other, a flood, several viewers. What a browser shows is in test_dashboard.py.

Run by `octopenstack test`; the platform's URL and login are in /etc/browser/settings.json.
"""

import concurrent.futures
import json
import os
import pathlib
import ssl
import time
import unittest
import urllib.parse
import uuid

import openstack
import websocket

SETTINGS = json.loads(pathlib.Path(os.environ.get('SETTINGS', '/etc/browser/settings.json')).read_text())
# The server that `demo` boots: its shell is BusyBox'.
SERVER = 'demo-1'
PROMPT = b'# '
# Seconds.
PATIENCE = 30


class Console:
    """A client of nova-serialproxy, behind the load balancer, as a browser is one."""

    def __init__(self, url):
        self.socket = websocket.create_connection(
            url, timeout=PATIENCE, subprotocols=['binary'], origin=SETTINGS['site'], sslopt={'cert_reqs': ssl.CERT_NONE})
        self.seen = b''

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def until(self, words):
        """Reads until `words` come; what came before them, and they."""
        while words not in self.seen:
            self.seen += self.socket.recv()
        before, _, self.seen = self.seen.partition(words)
        return before + words

    def type(self, text):
        self.socket.send_binary(text.encode())

    def ask(self, command):
        """Runs a command; what it says."""
        begin, end = (uuid.uuid4().hex[:8] for _ in range(2))
        # The terminal echoes what is typed, so each mark is typed in two halves.
        self.type(f"echo {begin[:4]}''{begin[4:]}; {command}; echo {end[:4]}''{end[4:]}\r")
        self.until(begin.encode())
        return self.until(end.encode()).decode().removesuffix(end).strip()


class Consoles(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cloud = openstack.connect(
            auth_url=SETTINGS['auth_url'], username=SETTINGS['user'], password=SETTINGS['password'],
            project_name=SETTINGS['project'], user_domain_name='Default', project_domain_name='Default',
            region_name=SETTINGS['region'], interface='internal', identity_api_version='3')
        cls.server = cls.cloud.compute.find_server(SERVER, ignore_missing=False)

    def url(self):
        return self.cloud.compute.create_console(self.server, 'serial')['url']

    def shells(self, console):
        """Processes of consoles in the server: shells on terminals."""
        return int(console.ask("ls -l /proc/[0-9]*/fd/0 2>/dev/null | grep -c /dev/pts/"))

    def test_commands_are_answered(self):
        with Console(self.url()) as console:
            console.until(PROMPT)
            times = []
            for _ in range(20):
                start = time.monotonic()
                console.ask('true')
                times.append(time.monotonic() - start)
            print(f'console: answers after {sorted(times)[10] * 1000:.1f} ms (median of 20)')
            self.assertEqual(console.ask('hostname'), SERVER)

    def test_the_program_has_the_size_of_the_viewer_s_terminal(self):
        with Console(self.url()) as console:
            console.until(b'\x1b[6n')
            # As a terminal answers, with something typed before and after.
            console.type('echo be\x1b[43;132Rgun\r')
            console.until(b'\nbegun')
            console.until(PROMPT)
            self.assertEqual(console.ask('stty size'), '43 132')

    def test_a_terminal_that_does_not_tell_its_size_works(self):
        with Console(self.url()) as console:
            console.until(PROMPT)
            self.assertEqual(console.ask('stty size'), '24 80')
            # The key Escape alone, then a command: the shell's editor swallows what it does not know.
            console.type("printf '%s' '")
            console.type('\x1b')
            time.sleep(0.5)
            console.type("' | wc -c\r")
            console.until(PROMPT)
            self.assertEqual(console.ask('echo well'), 'well')

    # Covers: get_serial_console, validate_console_port
    def test_a_token_opens_one_console_once(self):
        url = self.url()
        with Console(url) as console:
            console.until(PROMPT)
            self.assert_nothing_comes(url)
        self.assert_nothing_comes(url)

    def test_an_invented_token_opens_nothing(self):
        parts = urllib.parse.urlsplit(self.url())
        self.assert_nothing_comes(parts._replace(query=f'token={uuid.uuid4()}').geturl())

    def assert_nothing_comes(self, url):
        try:
            with Console(url) as console:
                received = console.socket.recv()
        except (websocket.WebSocketException, OSError):
            return
        self.assertFalse(received, 'something came')

    def test_200_consoles_leave_nothing(self):
        def once(_):
            with Console(self.url()) as console:
                console.until(PROMPT)

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(once, range(200)))
        # Hung-up shells have some seconds to end.
        deadline = time.monotonic() + PATIENCE
        while True:
            with Console(self.url()) as console:
                console.until(PROMPT)
                left = self.shells(console)
            if left <= 4 or time.monotonic() > deadline:
                break
            time.sleep(2)
        # This console's own shell, and the programs of its question.
        self.assertLessEqual(left, 4)

    def test_a_stopped_server_says_that_it_is(self):
        known = self.cloud.compute.get_server(self.server.id)
        server = self.cloud.compute.create_server(
            name='stopped', image_id=known.image.id, flavor_id=self.cloud.compute.find_flavor('c1').id, networks='none')
        try:
            self.cloud.compute.wait_for_server(server, wait=PATIENCE)
            url = self.cloud.compute.create_console(server, 'serial')['url']
            self.cloud.compute.stop_server(server)
            self.cloud.compute.wait_for_server(server, status='SHUTOFF', wait=PATIENCE)
            with Console(url) as console:
                console.until(b'The instance does not run: its console opens when it runs.')
        finally:
            self.cloud.compute.delete_server(server)

    def test_two_viewers_have_a_shell_each(self):
        with Console(self.url()) as one, Console(self.url()) as other:
            one.until(PROMPT)
            other.until(PROMPT)
            terminals = one.ask('tty'), other.ask('tty')
            self.assertEqual(len(set(terminals)), 2, terminals)

    def test_a_flood_stalls_nobody(self):
        with Console(self.url()) as flood, Console(self.url()) as console:
            flood.until(PROMPT)
            console.until(PROMPT)
            # Nobody reads it: the program in the server has to wait.
            flood.type('yes\r')
            time.sleep(2)
            start = time.monotonic()
            self.assertEqual(console.ask('hostname'), SERVER)
            self.assertLess(time.monotonic() - start, 5)


if __name__ == '__main__':
    unittest.main(verbosity=2)
