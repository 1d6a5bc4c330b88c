//! An item uses what stands below it, never what stands above.
