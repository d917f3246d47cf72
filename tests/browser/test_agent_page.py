"""The agent's own page in a real browser: who is let in, and that a server appears and goes on it by itself. Screenshots are kept in
the folder of the logs.

Run by `octopenstack test`; URLs and logins are in /etc/browser/settings.json.
"""

import unittest

import openstack
from playwright.sync_api import expect

from dashboard import SCREENSHOTS, SETTINGS, InBrowser

# The server that `demo` boots.
SERVER = 'demo-1'
# Names are their owners' choice: this one must stay a name.
HOSTILE = '<img src=x onerror="document.title=1">'
# Milliseconds.
PATIENCE = 60_000


class AgentPage(InBrowser):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.cloud = openstack.connect(
            auth_url=SETTINGS['auth_url'], username=SETTINGS['user'], password=SETTINGS['password'],
            project_name=SETTINGS['project'], user_domain_name='Default', project_domain_name='Default',
            region_name=SETTINGS['region'], interface='internal', identity_api_version='3')

    def page(self, password=SETTINGS['agent_page_password'], **options):
        context = self.browser.new_context(
            http_credentials={'username': 'operator', 'password': password}, base_url=SETTINGS['agent_page'], **options)
        self.addCleanup(context.close)
        page = context.new_page()
        self.complaints = []
        page.on('console', lambda message: message.type == 'error' and self.complaints.append(message.text))
        page.on('pageerror', lambda error: self.complaints.append(str(error)))
        return page

    def test_a_wrong_password_shows_nothing(self):
        page = self.page(password='wrong')
        self.assertEqual(page.goto('/status.json').status, 401)

    def test_a_server_appears_and_goes_by_itself(self):
        page = self.page(viewport={'width': 1300, 'height': 900}, color_scheme='light')
        page.goto('/')
        expect(page.locator('#host')).to_have_text(SETTINGS['host'])
        expect(page.locator('#health')).to_have_text('well')
        old = page.locator('#instances tr', has_text=SERVER).first
        expect(old).to_contain_text('active')
        for peer in ['rabbitmq', 'conductor', 'docker', 'ovsdb', 'keystone', 'placement']:
            expect(page.locator('.card', has_text=peer).first).to_contain_text('up')
        known = self.cloud.compute.find_server(SERVER, ignore_missing=False)
        known = self.cloud.compute.get_server(known.id)
        server = self.cloud.compute.create_server(
            name=HOSTILE, image_id=known.image.id, flavor_id=self.cloud.compute.find_flavor('c1').id, networks='none')
        try:
            new = page.locator('#instances tr', has_text=server.id)
            expect(new).to_contain_text('active', timeout=PATIENCE)
            expect(new).to_contain_text(HOSTILE)
            expect(page.locator('#methods tr', has_text='build_and_run_instance')).to_have_count(1)
            page.screenshot(path=SCREENSHOTS / 'agent_page.png', full_page=True)
        finally:
            self.cloud.compute.delete_server(server.id)
        expect(new).to_have_count(0, timeout=PATIENCE)
        self.assertIn(SETTINGS['host'], page.title())
        self.assertEqual(self.complaints, [])

    def test_it_fits_a_phone_in_the_dark(self):
        page = self.page(viewport={'width': 390, 'height': 800}, color_scheme='dark')
        page.goto('/')
        expect(page.locator('#instances tr', has_text=SERVER).first).to_contain_text('active')
        self.assertLessEqual(page.evaluate('document.documentElement.scrollWidth'), 390)
        page.screenshot(path=SCREENSHOTS / 'agent_page_phone.png', full_page=True)


if __name__ == '__main__':
    unittest.main(verbosity=2)
