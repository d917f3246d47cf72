"""A real browser, and a user with it at the dashboard: what the tests share."""

import json
import os
import pathlib
import re
import unittest

from playwright.sync_api import expect, sync_playwright

SETTINGS = json.loads(pathlib.Path(os.environ.get('SETTINGS', '/etc/browser/settings.json')).read_text())
SCREENSHOTS = pathlib.Path(os.environ.get('SCREENSHOTS', '/var/log/octopenstack'))
CHROMIUM = os.environ.get('CHROMIUM', '/usr/bin/chromium-headless-shell')
# Seconds for a page (the goal is two, on a machine that does nothing else) and for an operation of Nova's.
PATIENCE = 30
OPERATION = 90

expect.set_options(timeout=PATIENCE * 1000)


class InBrowser(unittest.TestCase):
    """A browser, once for all tests of a class."""

    @classmethod
    def setUpClass(cls):
        cls.playwright = sync_playwright().start()
        cls.addClassCleanup(cls.playwright.stop)
        cls.browser = cls.playwright.chromium.launch(
            executable_path=CHROMIUM, args=['--no-sandbox', '--disable-dev-shm-usage'])
        cls.addClassCleanup(cls.browser.close)


class Dashboard(InBrowser):
    """Logged in as one of the users."""

    # Names of the settings with the login.
    USER, PASSWORD = 'user', 'password'

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # The platform signs its certificate itself.
        cls.context = cls.browser.new_context(
            ignore_https_errors=True, base_url=SETTINGS['site'], viewport={'width': 1300, 'height': 900})
        cls.context.set_default_timeout(PATIENCE * 1000)
        cls.page = cls.context.new_page()
        cls.errors = []
        cls.context.on('response', lambda response: response.status >= 500 and cls.errors.append(
            f'{response.status} {response.url}'))
        cls.context.on('weberror', lambda error: cls.errors.append(str(error.error)))
        cls.log_in(cls.page)

    @classmethod
    def log_in(cls, page):
        page.goto('/auth/login/')
        page.fill('#id_username', SETTINGS[cls.USER])
        page.fill('#id_password', SETTINGS[cls.PASSWORD])
        page.click('button[type=submit]')
        page.wait_for_url(re.compile('/project/|/identity/|/admin/'))

    def setUp(self):
        self.errors.clear()

    def tearDown(self):
        self.shot(self.id().rpartition(".")[2])

    def shot(self, name):
        self.page.screenshot(path=SCREENSHOTS / f'{name}.png')

    def complaints(self):
        """What the page says went wrong."""
        return [text.strip() for text in self.page.locator('.alert-danger, .toast-error').all_inner_texts()]

    def open(self, path):
        response = self.page.goto(path)
        self.page.wait_for_load_state('networkidle')
        self.assertLess(response.status, 400, path)
        self.assertEqual(self.complaints(), [], path)

    def open_every_page(self, least):
        """Every page of the menus; there are more than `least`."""
        self.open('/project/')
        links = self.page.locator('#sidebar a[href^="/"]').evaluate_all('links => links.map(link => link.getAttribute("href"))')
        pages = sorted(set(links))
        self.assertGreater(len(pages), least, pages)
        for path in pages:
            with self.subTest(path):
                self.open(path)
        self.assertEqual(self.errors, [])

    def server(self, name):
        """The page of a server, by its name."""
        self.open('/project/instances/')
        return self.page.locator('tr', has_text=name).first.locator('a', has_text=name).get_attribute('href')

    def type_into_console(self, path, name):
        """Opens the console of a server's page, runs a command, reads the answer."""
        self.open(f'{path}?tab=instance_details__console')
        source = self.page.locator('iframe').get_attribute('src')
        console = self.context.new_page()
        console.goto(source)
        rows = console.locator('.terminal, .xterm-rows').first
        expect(rows).to_contain_text('#', timeout=OPERATION * 1000)
        console.keyboard.type('echo host-is-$(hostname)\r')
        expect(rows).to_contain_text(f'host-is-{name}')
        console.screenshot(path=SCREENSHOTS / f'console-{name}.png')
        console.close()
