//! Elementary functions over vectors: method, origin of constants, and a proven or exhaustively tested bound.
#![forbid(unsafe_code)]

pub mod exp;
pub mod fixed;
pub mod ln;
pub mod sum;
