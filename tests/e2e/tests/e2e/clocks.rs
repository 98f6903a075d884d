//! Certificates that ran out and clocks that are wrong.
