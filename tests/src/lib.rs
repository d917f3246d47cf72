//! Support for the tests of OctOpenStack.
