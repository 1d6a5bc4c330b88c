//! A client that sends bytes as they are.
