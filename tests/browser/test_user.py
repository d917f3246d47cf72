"""The whole way of a plain user at the dashboard, who is no administrator and has a project of his own: from the launch wizard to
the last button of a server's menu.

Run by `octopenstack test`, as its sibling for the administrator.
"""

import re
import time
import unittest

from playwright.sync_api import expect

from dashboard import OPERATION, Dashboard

NETWORK = 'demo-net'


class PlainUser(Dashboard):
    USER, PASSWORD = 'demo_user', 'demo_password'

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # What an earlier run left does not disturb.
        cls.name = f'mine-{int(time.time()) % 100000}'

    # The wizard.

    def step(self, title):
        """Goes to a step of the launch wizard."""
        self.wizard.locator('.wizard-nav a', has_text=title).first.click()
        return self.wizard.locator('.step:visible')

    def allocate(self, title, name):
        """Chooses a row in a step of the launch wizard."""
        step = self.step(title)
        row = step.locator('.transfer-available tr').filter(has=self.page.get_by_text(name, exact=True)).first
        expect(step.locator('tr').filter(has=self.page.get_by_text(name, exact=True)).first).to_be_visible()
        # The only network there is is chosen already, and so is a new key.
        if row.is_visible():
            row.locator('button').last.click()
        chosen = step.locator('.transfer-allocated tr').filter(has=self.page.get_by_text(name, exact=True))
        expect(chosen.first).to_be_visible()

    def launch(self, name, source, image, key=None):
        self.open('/project/instances/')
        self.page.click('#instances__action_launch-ng')
        self.wizard = self.page.locator('.modal-content .ng-wizard').first
        self.wizard.locator('input[name=name]').first.fill(name)
        self.step('Source').locator('#boot-source-type').select_option(label=source)
        self.allocate('Source', image)
        self.allocate('Flavor', 'c1')
        self.allocate('Networks', NETWORK)
        self.allocate('Security Groups', 'demo-access')
        if key:
            self.new_key(key)
        self.shot(f'wizard-{name}')
        self.wizard.locator('button.finish').click()
        self.becomes(name, 'Active')

    def new_key(self, name):
        """A key pair made in the wizard, which shows the private half."""
        self.step('Key Pair').get_by_role('button', name='Create Key Pair').click()
        dialogue = self.page.locator('.modal-content').filter(has=self.page.locator('#keypair-name'))
        dialogue.locator('#keypair-name').fill(name)
        dialogue.locator('select[name=key-type]').select_option(label='SSH Key')
        dialogue.get_by_role('button', name='Create Keypair').click()
        expect(dialogue.locator('#private-key')).to_be_visible()
        self.assertIn('PRIVATE KEY', dialogue.locator('#private-key').input_value())
        self.shot('key')
        dialogue.get_by_role('button', name='Done').click()
        self.allocate('Key Pair', name)

    # The list of servers.

    def row(self, name):
        return self.page.locator('#instances tbody tr').filter(has=self.page.get_by_role('link', name=name, exact=True))

    def becomes(self, name, status):
        """Waits until the list says so; it looks itself while something is under way."""
        row = self.row(name)
        expect(row).to_contain_text(status, timeout=OPERATION * 1000)
        expect(row.locator('td').filter(has_text='None').first).to_be_visible(timeout=OPERATION * 1000)
        self.assertEqual(self.complaints(), [])
        self.assertEqual(self.errors, [])

    def entry(self, name, action):
        """An entry of a server's menu, in sight."""
        row = self.row(name)
        entry = row.locator('td.actions_column').locator('a, button').filter(has_text=action).first
        if not entry.is_visible():
            row.locator('td.actions_column .dropdown-toggle').click()
        return entry

    def choose(self, name, action):
        """An action that opens a dialogue."""
        self.entry(name, action).click()

    def pick(self, field, **option):
        """Chooses in a dialogue's list. Horizon hides the browser's own behind one of its theme."""
        self.page.locator(f'.modal.in {field}').select_option(**option, force=True)

    def submit(self):
        """The dialogue's own button; then the list is there again."""
        dialogue = self.page.locator('.modal.in').last
        with self.page.expect_navigation(timeout=OPERATION * 1000):
            dialogue.locator('.modal-footer').locator('.btn-primary, .btn-danger').last.click()

    def do(self, name, action, status):
        """An action without a form. What may lose something asks first whether it is meant."""
        entry = self.entry(name, action)
        if 'btn-danger' in entry.get_attribute('class'):
            entry.click()
            self.submit()
        else:
            with self.page.expect_navigation(timeout=OPERATION * 1000):
                entry.click()
        self.becomes(name, status)

    # The tests; in the order of their names.

    def test_1_every_page_of_the_menus_opens(self):
        self.open_every_page(10)

    def test_2_a_server_is_launched_with_network_and_key(self):
        self.launch(self.name, 'Image', 'demo', key=f'key-{self.name}')
        expect(self.row(self.name)).to_contain_text(f'key-{self.name}')

    def test_3_its_console_answers_and_its_log_is_shown(self):
        path = self.server(self.name)
        self.type_into_console(path, self.name)
        self.shot('console-tab')
        self.open(f'{path}?tab=instance_details__log')
        expect(self.page.locator('pre.logs')).to_contain_text('SSH key(s) for root and demo')

    def test_4_a_snapshot_of_it_is_launched(self):
        snapshot = f'of-{self.name}'
        self.open('/project/instances/')
        self.choose(self.name, 'Create Snapshot')
        self.page.fill('#id_name', snapshot)
        self.page.locator('.modal.in .modal-footer .btn-primary').last.click()
        self.page.wait_for_url('**/project/images**')
        expect(self.page.locator('tr', has_text=snapshot).first).to_contain_text('Active', timeout=OPERATION * 1000)
        self.shot('images')
        second = f'{self.name}-2'
        self.launch(second, 'Instance Snapshot', snapshot)
        self.choose(second, 'Delete Instance')
        self.submit()
        expect(self.row(second)).to_have_count(0, timeout=OPERATION * 1000)

    def test_5_it_gets_interface_and_floating_address(self):
        self.open('/project/instances/')
        self.choose(self.name, 'Attach Interface')
        self.pick('#id_network', index=1)
        self.submit()
        self.becomes(self.name, 'Active')
        self.choose(self.name, 'Associate Floating IP')
        self.page.locator('.modal.in [data-add-to-field=id_instance_id], .modal.in .ajax-add').first.click()
        allocation = self.page.locator('.modal.in').filter(has=self.page.locator('#id_pool'))
        allocation.locator('.modal-footer .btn-primary').last.click()
        # What an earlier run left can be chosen, too; the new one comes last.
        expect(allocation).to_have_count(0)
        choice = self.page.locator('#id_ip_id option').last
        expect(choice).to_have_text(re.compile(r'^\s*[\d.]+\s*$'))
        address = choice.inner_text().strip()
        self.shot('floating')
        self.submit()
        self.open('/project/instances/')
        expect(self.row(self.name)).to_contain_text(address)
        self.shot('addresses')

    def test_6_it_is_resized(self):
        self.open('/project/instances/')
        self.choose(self.name, 'Resize Instance')
        self.pick('#id_flavor', label='c2')
        self.submit()
        self.becomes(self.name, 'Confirm or Revert Resize/Migrate')
        self.shot('resized')
        self.do(self.name, 'Confirm Resize/Migrate', 'Active')
        expect(self.row(self.name)).to_contain_text('c2')

    def test_7_no_button_of_its_menu_fails(self):
        self.open('/project/instances/')
        for action, status in [
            ('Pause Instance', 'Paused'), ('Resume Instance', 'Running'),
            ('Suspend Instance', 'Suspended'), ('Resume Instance', 'Running'),
            ('Shelve Instance', 'Shelved Offloaded'), ('Unshelve Instance', 'Running'),
            ('Lock Instance', 'Running'), ('Unlock Instance', 'Running'),
            ('Soft Reboot Instance', 'Running'), ('Hard Reboot Instance', 'Running'),
            ('Shut Off Instance', 'Shutoff'), ('Start Instance', 'Running'),
        ]:
            with self.subTest(action):
                self.do(self.name, action, status)

    def test_8_no_dialogue_of_its_menu_fails(self):
        with self.subTest('Rescue Instance'):
            self.dialogue('Rescue Instance', '#id_image', index=0)
            self.becomes(self.name, 'Rescue')
            self.shot('rescue')
            self.do(self.name, 'Unrescue Instance', 'Running')
        for action, field in [('Rebuild Instance', '#id_image'), ('Detach Interface', '#id_port'),
                              ('Edit Instance', None), ('Edit Security Groups', None)]:
            with self.subTest(action):
                self.dialogue(action, field, index=1)
                self.becomes(self.name, 'Running')
        with self.subTest('Update Metadata'):
            self.choose(self.name, 'Update Metadata')
            expect(self.page.locator('.modal-content')).to_contain_text('Update Instance Metadata')
            self.shot('metadata')

    def dialogue(self, action, field, **option):
        """Opens a dialogue of the server's menu, chooses in one of its lists, and submits it."""
        self.open('/project/instances/')
        self.choose(self.name, action)
        self.page.wait_for_selector('.modal.in .modal-footer .btn-primary')
        if field:
            self.pick(field, **option)
        self.shot(action.replace(' ', '-').lower())
        self.submit()

    def test_9_it_is_deleted(self):
        self.open('/project/instances/')
        self.choose(self.name, 'Delete Instance')
        self.submit()
        expect(self.row(self.name)).to_have_count(0, timeout=OPERATION * 1000)


if __name__ == '__main__':
    unittest.main(verbosity=2)
