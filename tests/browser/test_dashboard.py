"""The dashboard as the administrator sees it: every page of its menus, hypervisors and services, console, log, a snapshot.

Run by `octopenstack test`; the platform's URL and login are in /etc/browser/settings.json. Screenshots are kept in the folder of
the logs.
"""

import time
import unittest

from playwright.sync_api import expect

from dashboard import OPERATION, SETTINGS, Dashboard

# The server that `demo` boots.
SERVER = 'demo-1'


class Administrator(Dashboard):
    def test_every_page_of_the_menus_opens(self):
        self.open_every_page(20)

    def test_the_title_is_the_platform_s(self):
        self.open('/project/')
        self.assertIn(SETTINGS['title'], self.page.title())

    def test_the_hypervisor_and_its_services_are_listed(self):
        self.open('/admin/hypervisors/')
        link = self.page.get_by_role('link', name=SETTINGS['host'], exact=True)
        row = self.page.locator('#hypervisors tr').filter(has=link)
        expect(row).to_contain_text('docker')
        self.shot('hypervisors')
        self.open('/admin/info/?tab=system_info__nova_services')
        expect(self.page.locator('tr', has_text='nova-compute').first).to_contain_text('Up')
        self.assertEqual(self.errors, [])

    def test_the_console_is_a_terminal(self):
        self.type_into_console(self.server(SERVER), SERVER)

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
