"""Brings Keystone's schema up to date and makes the administrator: db_sync and bootstrap in one interpreter.

The two keystone-manage commands would each spend three seconds on imports, and bootstrap takes the password from its
arguments or its environment, where others can read it. Here it comes from a file. Both steps may be repeated.

Arguments: the administrator's name, the project's name, the region.
"""

import pathlib
import sys

import keystone.conf
from keystone.cmd import bootstrap
from keystone.common import sql
from keystone.common.sql import upgrades

PASSWORD = pathlib.Path('/etc/keystone/admin_password')


def main(user, project, region):
    keystone.conf.configure()
    sql.initialize()
    keystone.conf.set_default_for_default_log_levels()
    keystone.conf.CONF(args=[], project='keystone')
    keystone.conf.setup_logging()

    upgrades.offline_sync_database_to_version(None)

    admin = bootstrap.Bootstrapper()
    admin.admin_username = user
    admin.admin_password = PASSWORD.read_text().strip()
    admin.admin_role_name = 'admin'
    admin.project_name = project
    admin.region_id = region
    # The roles that policies are written against cannot be deleted by mistake.
    admin.immutable_roles = True
    # Endpoints are left out: the catalogue is filled through the API, for all services alike.
    admin.bootstrap()


if __name__ == '__main__':
    main(*sys.argv[1:])
