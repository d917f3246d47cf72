"""Brings Nova's databases up to date and maps its two cells, in one interpreter.

As nova-manage commands: api_db sync, cell_v2 map_cell0, db sync, cell_v2 create_cell. Five starts of Python become one.
Cells are stored as templates that every service fills in from its own nova.conf: a changed password needs no second
place, and the API database holds none. All steps may be repeated.
"""

import sys

from nova.cmd import manage
from nova import config
from nova import context
from nova import objects
from oslo_log import log

CELL0_DATABASE = '{scheme}://{username}:{password}@{hostname}/nova_cell0?{query}'
CELL1_DATABASE = '{scheme}://{username}:{password}@{hostname}/nova_cell1?{query}'
CELL1_TRANSPORT = '{scheme}://{username}:{password}@{hostname}:{port}/'


def check(code, step):
    """The commands answer 0 or None when all went well."""
    if code:
        sys.exit(f'{step} failed with code {code}')


def main():
    config.parse_args(['nova-manage'])
    log.setup(config.CONF, 'nova')
    objects.register_all()

    check(manage.ApiDbCommands().sync(), 'api_db sync')
    cells = manage.CellV2Commands()
    check(cells.map_cell0(database_connection=CELL0_DATABASE), 'map_cell0')
    check(manage.DbCommands().sync(), 'db sync')
    known = objects.CellMappingList.get_all(context.get_admin_context())
    if not any(cell.name == 'cell1' for cell in known):
        check(
            cells.create_cell(
                name='cell1',
                database_connection=CELL1_DATABASE,
                transport_url=CELL1_TRANSPORT,
            ),
            'create_cell',
        )


if __name__ == '__main__':
    main()
