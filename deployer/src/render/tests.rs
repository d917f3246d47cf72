//! Golden tests of rendered files.
