//! Images that are damaged, hostile or out of reach while a node pulls them.
