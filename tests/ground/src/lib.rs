//! What a run of Skerry stands on outside of Skerry: network namespaces that can be cut, a registry with TLS and a password,
//! images, processes that end with their guard, and a comparison of the machine before and after.
