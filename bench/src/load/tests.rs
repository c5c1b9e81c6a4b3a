//! The generator against small servers made for the purpose.
