# Enough of Horizon's settings to make its static files when the image is built. Those of a platform are in local_settings.py.tera.
# Templates differ with it.
import os

DEBUG = False
SECRET_KEY = 'only-while-the-image-is-built'
STATIC_ROOT = '/opt/openstack/share/horizon/static'
COMPRESS_OFFLINE = True
# Without one, the templates of Angular are not among the static files.
CACHES = {'default': {'BACKEND': 'django.core.cache.backends.dummy.DummyCache'}}
# Compressed styles are known by names that do not tell the theme: the first theme's are made, beside those of the others.
# `material` builds on `default`, so both are there.
THEME = os.environ['THEME']
AVAILABLE_THEMES = [(name, name, f'themes/{name}') for name in sorted(('default', 'material'), key=lambda name: name != THEME)]
DEFAULT_THEME = THEME
COMPRESS_OUTPUT_DIR = f'dashboard/{THEME}'
