//! The instruction sets: detected once, pinned by `SOFTLANE_ISA`. The only `#[target_feature]` functions.

use std::sync::OnceLock;

use crate::element::Compute;
use crate::error::Error;
use crate::math::exp::ExpConstants;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Enter, Kernel, Portable, SHORTER_TILE_ROWS, SHORTEST_TILE_ROWS, Simd};

/// The instruction sets that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// Plain arrays that the compiler vectorises for the target.
    Portable,
}

/// The environment variable that pins the instruction set.
pub const VARIABLE: &str = "SOFTLANE_ISA";

impl Isa {
    /// All of them, the widest first.
    pub const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Portable];

    /// The name that `SOFTLANE_ISA` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => avx512_detected(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2_detected(),
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// Those that this machine has, the widest first.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The instruction set of this process: what `SOFTLANE_ISA` names, or else the widest.
    pub fn current() -> Result<Self, Error> {
        static CURRENT: OnceLock<Result<Isa, Error>> = OnceLock::new();
        CURRENT.get_or_init(|| Self::chosen(std::env::var(VARIABLE).ok().as_deref())).clone()
    }

    fn chosen(wanted: Option<&str>) -> Result<Self, Error> {
        let available = Self::available();
        let Some(wanted) = wanted.map(str::trim).filter(|name| !name.is_empty()) else {
            return Ok(available[0]);
        };
        let names = |isas: &[Self]| isas.iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ");
        match Self::ALL.into_iter().find(|isa| isa.name() == wanted) {
            Some(isa) if isa.is_available() => Ok(isa),
            Some(_) => Err(Error::Isa(format!(
                "{VARIABLE}={wanted}: this machine lacks it; available: {}",
                names(&available)
            ))),
            None => Err(Error::Isa(format!(
                "{VARIABLE}={wanted} is unknown; expected one of {}",
                names(&Self::ALL)
            ))),
        }
    }
}

/// One list of features for the detection and for the boundary.
macro_rules! boundary {
    ($detected:ident, $token:ident, $f32:ident, $f64:ident, $($feature:tt),*) => {
        #[cfg(target_arch = "x86_64")]
        fn $detected() -> bool {
            true $(&& is_x86_feature_detected!($feature))*
        }

        #[cfg(target_arch = "x86_64")]
        impl Enter<f32> for $token {
            #[inline(always)]
            fn enter<K: Kernel<f32>>(self, kernel: K) -> K::Output {
                // SAFETY: a token is made only where its features were detected.
                unsafe { $f32(kernel) }
            }
        }

        #[cfg(target_arch = "x86_64")]
        impl Enter<f64> for $token {
            #[inline(always)]
            fn enter<K: Kernel<f64>>(self, kernel: K) -> K::Output {
                // SAFETY: as above.
                unsafe { $f64(kernel) }
            }
        }

        #[cfg(target_arch = "x86_64")]
        $(#[target_feature(enable = $feature)])*
        fn $f32<K: Kernel<f32>>(kernel: K) -> K::Output {
            // SAFETY: this function enables the features, and is entered only where they were detected.
            kernel.run(unsafe { $token::new() })
        }

        #[cfg(target_arch = "x86_64")]
        $(#[target_feature(enable = $feature)])*
        fn $f64<K: Kernel<f64>>(kernel: K) -> K::Output {
            // SAFETY: as above.
            kernel.run(unsafe { $token::new() })
        }
    };
}
boundary!(
    avx512_detected,
    Avx512,
    dispatch_avx512_f32,
    dispatch_avx512_f64,
    "avx512f",
    "avx512bw",
    "avx512dq",
    "avx512vl",
    "avx2",
    "fma",
    "f16c",
    "bmi1",
    "bmi2",
    "lzcnt",
    "popcnt"
);
boundary!(
    avx2_detected,
    Avx2,
    dispatch_avx2_f32,
    dispatch_avx2_f64,
    "avx2",
    "fma",
    "f16c",
    "bmi1",
    "bmi2",
    "lzcnt",
    "popcnt"
);

#[inline(never)]
fn dispatch_portable<E: Compute, K: Kernel<E>>(kernel: K) -> K::Output
where
    Portable: crate::simd::Wide<E>,
{
    kernel.run(Portable)
}

impl<E: Compute> Enter<E> for Portable
where
    Portable: crate::simd::Wide<E>,
{
    #[inline(always)]
    fn enter<K: Kernel<E>>(self, kernel: K) -> K::Output {
        dispatch_portable(kernel)
    }
}

/// The types that kernels can be dispatched for.
pub trait Dispatch: ExpConstants {
    /// Runs a kernel on the vectors of `isa`.
    ///
    /// # Panics
    /// If this machine lacks it.
    fn dispatch<K: Kernel<Self>>(isa: Isa, kernel: K) -> K::Output;

    /// The longest rows that are best transposed on `isa`, of an operation whose [`LONGEST_TILE`](crate::kernels::Op::LONGEST_TILE) is
    /// `most`: that, where exponentials have [loops of their own](Simd::EXP_RUNS) and transposing is [fast](Simd::BY_FOURS); where there
    /// are [registers enough](Simd::FOUR_AT_ONCE) less, as longer ones are faster as rows, and sooner if those are `grouped`; else
    /// [`SHORTER_TILE_ROWS`].
    fn longest_tile(isa: Isa, most: usize, grouped: bool) -> usize;
}

/// [`Dispatch::longest_tile`] of a token.
fn longest_tile<E: Compute, S: Simd<E>>(most: usize, grouped: bool) -> usize {
    match S::EXP_RUNS && S::BY_FOURS {
        true => most,
        false if S::FOUR_AT_ONCE => most.min(if grouped { SHORTEST_TILE_ROWS } else { SHORTER_TILE_ROWS }),
        false => most.min(SHORTER_TILE_ROWS),
    }
}

macro_rules! dispatch {
    ($t:ty, $avx512:ident, $avx2:ident) => {
        impl Dispatch for $t {
            #[inline]
            fn dispatch<K: Kernel<Self>>(isa: Isa, kernel: K) -> K::Output {
                debug_assert!(isa.is_available());
                match isa {
                    // SAFETY: an `Isa` other than portable is made only where it was detected: by `current`, or
                    // by a caller who asked `is_available` (checked in debug builds).
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => unsafe { $avx512(kernel) },
                    // SAFETY: as above.
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => unsafe { $avx2(kernel) },
                    _ => dispatch_portable(kernel),
                }
            }

            #[inline]
            fn longest_tile(isa: Isa, most: usize, grouped: bool) -> usize {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => longest_tile::<Self, Avx512>(most, grouped),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => longest_tile::<Self, Avx2>(most, grouped),
                    _ => longest_tile::<Self, Portable>(most, grouped),
                }
            }
        }
    };
}
dispatch!(f32, dispatch_avx512_f32, dispatch_avx2_f32);
dispatch!(f64, dispatch_avx512_f64, dispatch_avx2_f64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_is_refused_by_name() {
        let message = Isa::chosen(Some("sse9")).unwrap_err().to_string();
        assert!(message.contains("SOFTLANE_ISA=sse9") && message.contains("avx512, avx2, portable"));
        assert_eq!(Isa::chosen(Some("portable")), Ok(Isa::Portable));
        assert_eq!(Isa::chosen(None), Ok(Isa::available()[0]));
        assert_eq!(Isa::chosen(Some("")), Isa::chosen(None));
    }
}
