//! Who is not let in: tokens, certificates and frames that are wrong.
