# Enough of Horizon's settings to make its static files when the image is built. Those of a platform are in local_settings.py.tera.
# Templates differ with it.
DEBUG = False
SECRET_KEY = 'only-while-the-image-is-built'
STATIC_ROOT = '/opt/openstack/share/horizon/static'
COMPRESS_OFFLINE = True
# Without one, the templates of Angular are not among the static files.
CACHES = {'default': {'BACKEND': 'django.core.cache.backends.dummy.DummyCache'}}
