//! Maps made smaller and larger.
