"""The dashboard in a real browser: every page of its menus, launching, console, log. Screenshots are kept in the folder of the logs.

Run by `octopenstack test`; the platform's URL and login are in /etc/browser/settings.json.
"""

import json
import os
import pathlib
import re
import time
import unittest

from playwright.sync_api import expect, sync_playwright

SETTINGS = json.loads(pathlib.Path(os.environ.get('SETTINGS', '/etc/browser/settings.json')).read_text())
SCREENSHOTS = pathlib.Path(os.environ.get('SCREENSHOTS', '/var/log/octopenstack'))
CHROMIUM = os.environ.get('CHROMIUM', '/usr/bin/chromium-headless-shell')
# The server that `demo` boots.
SERVER = 'demo-1'
# Seconds for a page (the goal is two, on a machine that does nothing else) and for an operation of Nova's.
PATIENCE = 30
OPERATION = 90


class Browser(unittest.TestCase):
    """Logged in as the administrator."""

    @classmethod
    def setUpClass(cls):
        cls.playwright = sync_playwright().start()
        cls.addClassCleanup(cls.playwright.stop)
        cls.browser = cls.playwright.chromium.launch(
            executable_path=CHROMIUM, args=['--no-sandbox', '--disable-dev-shm-usage'])
        cls.addClassCleanup(cls.browser.close)
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
        page.fill('#id_username', SETTINGS['user'])
        page.fill('#id_password', SETTINGS['password'])
        page.click('button[type=submit]')
        page.wait_for_url(re.compile('/project/|/identity/|/admin/'))

    def setUp(self):
        self.errors.clear()

    def tearDown(self):
        self.page.screenshot(path=SCREENSHOTS / f'{self.id().rpartition(".")[2]}.png')

    def open(self, path):
        response = self.page.goto(path)
        self.page.wait_for_load_state('networkidle')
        self.assertLess(response.status, 400, path)
        complaints = [text.strip() for text in self.page.locator('.alert-danger, .toast-error').all_inner_texts()]
        self.assertEqual(complaints, [], path)

    def server(self, name):
        """The page of a server, by its name."""
        self.open('/project/instances/')
        return self.page.locator('tr', has_text=name).first.locator('a', has_text=name).get_attribute('href')

    def test_every_page_of_the_menus_opens(self):
        self.open('/project/')
        links = self.page.locator('#sidebar a[href^="/"]').evaluate_all('links => links.map(link => link.getAttribute("href"))')
        pages = sorted(set(links))
        self.assertGreater(len(pages), 20, pages)
        for path in pages:
            with self.subTest(path):
                self.open(path)
        self.assertEqual(self.errors, [])

    def test_the_title_is_the_platform_s(self):
        self.open('/project/')
        self.assertIn(SETTINGS['title'], self.page.title())

    def test_the_hypervisor_and_its_services_are_listed(self):
        self.open('/admin/hypervisors/')
        link = self.page.get_by_role('link', name=SETTINGS['host'], exact=True)
        row = self.page.locator('#hypervisors tr').filter(has=link)
        expect(row).to_contain_text('docker')
        self.open('/admin/info/?tab=system_info__nova_services')
        expect(self.page.locator('tr', has_text='nova-compute').first).to_contain_text('Up')
        self.assertEqual(self.errors, [])

    def test_the_console_is_a_terminal(self):
        self.open(self.server(SERVER) + '?tab=instance_details__console')
        source = self.page.locator('iframe').get_attribute('src')
        console = self.context.new_page()
        console.goto(source)
        rows = console.locator('.terminal, .xterm-rows').first
        expect(rows).to_contain_text('#', timeout=OPERATION * 1000)
        console.keyboard.type('echo host-is-$(hostname)\r')
        expect(rows).to_contain_text(f'host-is-{SERVER}')
        console.screenshot(path=SCREENSHOTS / 'console.png')
        console.close()

    def test_the_log_is_shown(self):
        self.open(self.server(SERVER) + '?tab=instance_details__log')
        expect(self.page.locator('pre.logs')).to_contain_text('dropbear')

    def test_a_snapshot_is_taken_and_found_among_the_images(self):
        name = f'snapshot-{int(time.time())}'
        self.open('/project/instances/')
        row = self.page.locator('tr', has_text=SERVER).first
        row.get_by_text('Create Snapshot').click()
        self.page.fill('#id_name', name)
        self.page.locator('.modal-footer input[type=submit], .modal-footer .btn-primary').first.click()
        self.page.wait_for_url('**/project/images**')
        image = self.page.locator('tr', has_text=name).first
        expect(image).to_contain_text('Active', timeout=OPERATION * 1000)
        self.assertEqual(self.errors, [])


if __name__ == '__main__':
    unittest.main(verbosity=2)
