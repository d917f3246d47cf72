"""A program of a plain user: boots two servers at once, labels and finds them, gives one a floating address, and asks for too much."""

import time

import openstack

NAMES = ['by-sdk-1', 'by-sdk-2']

cloud = openstack.connect(cloud='demo')
server = cloud.create_server('by-sdk', image='demo', flavor='c1', network='demo-net', meta={'role': 'db'},
                             min_count=2, max_count=2, wait=False)
try:
    found = [cloud.compute.wait_for_server(server, wait=60) for server in cloud.compute.servers(name='by-sdk')]
    assert sorted(server.name for server in found) == NAMES, found

    first, second = found
    cloud.compute.add_tag_to_server(first, 'red')
    cloud.compute.set_server_metadata(first, role='web', zone='a')
    cloud.compute.delete_server_metadata(first, ['zone'])
    assert [server.id for server in cloud.compute.servers(tags='red')] == [first.id]
    assert cloud.compute.get_server_metadata(first).metadata == {'role': 'web'}
    assert cloud.compute.get_server_metadata(second).metadata == {'role': 'db'}

    port = next(cloud.network.ports(device_id=first.id))
    public = cloud.network.find_network('public', ignore_missing=False)
    floating = cloud.network.create_ip(floating_network_id=public.id, port_id=port.id)
    address = floating.floating_ip_address
    # Nova hears of it from Neutron, soon.
    for _ in range(60):
        if address in [each['addr'] for each in cloud.compute.get_server(first.id).addresses['demo-net']]:
            break
        time.sleep(0.5)
    else:
        raise AssertionError(f'Nova does not know {address}')
    cloud.network.delete_ip(floating)

    try:
        cloud.create_server('too-many', image='demo', flavor='c1', network='demo-net', min_count=11, max_count=11)
        raise AssertionError('eleven servers of ten')
    except openstack.exceptions.ForbiddenException as error:
        assert 'Quota exceeded for' in str(error) and 'instances' in str(error), error
finally:
    for server in cloud.compute.servers(name='by-sdk'):
        cloud.compute.delete_server(server)
        cloud.compute.wait_for_delete(server, wait=60)
print('all is well')
