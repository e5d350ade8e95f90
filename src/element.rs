//! The element types: what may stand in memory ([`DType`], [`Element`]) and what kernels compute in ([`Compute`]).

/// The element types that arrays may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum DType {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F16,
    BF16,
    F32,
    F64,
}

impl DType {
    /// Bytes an element.
    pub const fn size(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 | Self::F16 | Self::BF16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// The name of the type, as NumPy spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::U8 => "uint8",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::U64 => "uint64",
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }

    /// Whether it is one of the types of two bytes that are computed in `f32`.
    pub const fn is_half(self) -> bool {
        matches!(self, Self::F16 | Self::BF16)
    }

    /// The type of a result for input of this type: floats stay, integers and bool become `f64`.
    pub const fn result(self) -> Self {
        match self {
            Self::F16 | Self::BF16 | Self::F32 => self,
            _ => Self::F64,
        }
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A type that arrays of the public API may hold. Sealed.
pub trait Element: sealed::Sealed + Copy + Send + Sync + 'static {
    /// Its run-time name.
    const DTYPE: DType;
}

macro_rules! element {
    ($($t:ty => $d:ident),* $(,)?) => {$(
        impl sealed::Sealed for $t {}
        impl Element for $t { const DTYPE: DType = DType::$d; }
    )*};
}
element!(bool => Bool, i8 => I8, i16 => I16, i32 => I32, i64 => I64, u8 => U8, u16 => U16,
         u32 => U32, u64 => U64, half::f16 => F16, half::bf16 => BF16, f32 => F32, f64 => F64);

/// A type that kernels compute in: `f32` or `f64`. Sealed.
///
/// All bits depend on [`LANES`](Self::LANES) and [`CHUNK`](Self::CHUNK): the virtual vector width and the
/// length of the pieces in which a row is summed are the same on every instruction set.
pub trait Compute:
    Element + Default + PartialOrd + core::ops::Add<Output = Self> + core::ops::Sub<Output = Self>
{
    /// Lanes of the virtual vector.
    const LANES: usize;
    /// Elements of a row that share one exponent and one pair of sums. A multiple of `LANES`.
    const CHUNK: usize = 256 * Self::LANES;
    /// Minus infinity: the neutral element of `max`, and what `exp` turns to exact zero.
    const NEG_INFINITY: Self;
    /// The lowest finite number.
    const LOWEST: Self;
    /// The one NaN that softlane writes.
    const NAN: Self;
    /// Zero.
    const ZERO: Self;
    /// Minus zero.
    const NEGATIVE_ZERO: Self;
    /// One.
    const ONE: Self;
    /// The exponent of the largest power of two.
    const LARGEST_POWER: f64;
    /// The exponent of a power of two by which products of subnormal numbers are enlarged, so that nothing is lost
    /// where sums are no wider in range than the terms.
    const PRODUCT_POWER: f64;
    /// One virtual vector as an array.
    type Array: Copy + AsRef<[Self]> + AsMut<[Self]>;
    /// The bit pattern.
    type Bits: Copy + Send + Sync + 'static;
    /// A scalar of about twice the precision, for sums.
    type Wide: WideScalar<Self>;
    /// `array` filled with `self`.
    fn array(self) -> Self::Array;
    /// `array` filled with four numbers, over and over.
    fn cycle(four: [Self; 4]) -> Self::Array;
    /// Whether this is no number.
    fn is_nan(self) -> bool;
    /// Exact widening to `f64`.
    fn to_f64(self) -> f64;
    /// Rounding from `f64`.
    fn from_f64(x: f64) -> Self;
    /// Exact widening from `f32`.
    fn from_f32(x: f32) -> Self;
    /// Rounding to `f32`.
    fn to_f32(self) -> f32;
    /// A fused multiply-add.
    fn fma(self, b: Self, c: Self) -> Self;
}

/// Scalars that carry sums: `f64` for `f32`, [`DoubleDouble`] for `f64`.
pub trait WideScalar<E>: Copy + Default + Send + Sync {
    /// Exact widening.
    fn widened(x: E) -> Self;
    /// The sum.
    fn add(self, other: Self) -> Self;
    /// The product with a power of two: exact.
    fn scale(self, power_of_two: f64) -> Self;
    /// The product with `1 + growth`, for a growth below the last place of an `E`.
    fn grow(self, growth: E) -> Self;
    /// The reciprocal, as an unevaluated sum of two.
    fn reciprocal(self) -> (E, E);
    /// The value as an unevaluated sum of two.
    fn split(self) -> (E, E);
    /// `by + self` as an unevaluated sum of two, the second with the digits that the first has no place for.
    fn shifted(self, by: E) -> (E, E);
    /// The leading part.
    fn to_f64(self) -> f64;
    /// What the leading part lacks.
    fn rest(self) -> f64;
    /// The nearest number. What is infinite may have a rest that is none.
    fn rounded(self) -> f64;
    /// Exact widening.
    fn to_double_double(self) -> DoubleDouble;
    /// The nearest, or almost.
    fn from_double_double(x: DoubleDouble) -> Self;
}

impl WideScalar<f32> for f64 {
    #[inline(always)]
    fn widened(x: f32) -> Self {
        x as f64
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    fn scale(self, power_of_two: f64) -> Self {
        self * power_of_two
    }
    #[inline(always)]
    fn grow(self, growth: f32) -> Self {
        self.mul_add(growth as f64, self)
    }
    #[inline(always)]
    fn reciprocal(self) -> (f32, f32) {
        WideScalar::<f32>::split(1.0 / self)
    }
    #[inline(always)]
    fn split(self) -> (f32, f32) {
        let hi = self as f32;
        (hi, (self - hi as f64) as f32)
    }
    #[inline(always)]
    fn shifted(self, by: f32) -> (f32, f32) {
        let hi = (by as f64 + self) as f32;
        (hi, (self - (hi as f64 - by as f64)) as f32)
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn rest(self) -> f64 {
        0.0
    }
    #[inline(always)]
    fn rounded(self) -> f64 {
        self
    }
    #[inline(always)]
    fn to_double_double(self) -> DoubleDouble {
        DoubleDouble { hi: self, lo: 0.0 }
    }
    #[inline(always)]
    fn from_double_double(x: DoubleDouble) -> Self {
        x.hi
    }
}

/// An unevaluated sum `hi + lo` with `|lo| <= ulp(hi)/2`: about 106 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DoubleDouble {
    /// The value rounded to `f64`.
    pub hi: f64,
    /// What the rounding left.
    pub lo: f64,
}

impl DoubleDouble {
    /// The sum of two that need not be brought into order, which it is not either.
    #[inline(always)]
    pub(crate) fn plus(self, other: Self) -> Self {
        let (hi, error) = two_sum(self.hi, other.hi);
        Self { hi, lo: error + (self.lo + other.lo) }
    }

    /// The same number, of which `hi` is what it rounds to.
    #[inline(always)]
    pub(crate) fn ordered(self) -> Self {
        let (hi, lo) = two_sum(self.hi, self.lo);
        Self { hi, lo }
    }

    /// The quotient by a number, good to some units of the last place of `lo`.
    #[inline(always)]
    pub fn over(self, divisor: f64) -> Self {
        let quotient = self.hi / divisor;
        let left = (-quotient).mul_add(divisor, self.hi) + self.lo;
        let (hi, lo) = two_sum(quotient, left / divisor);
        Self { hi, lo }
    }

    /// The product with a number, as good.
    #[inline(always)]
    pub fn times(self, factor: f64) -> Self {
        let product = self.hi * factor;
        let left = self.lo.mul_add(factor, self.hi.mul_add(factor, -product));
        let (hi, lo) = two_sum(product, left);
        Self { hi, lo }
    }
}

/// `2^k`, of an exponent that a normal number has.
pub(crate) const fn two_to(k: i64) -> f64 {
    f64::from_bits(((1023 + k) as u64) << 52)
}

/// Knuth's two-sum: `a + b` rounded, and the exact error.
#[inline(always)]
pub(crate) fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    let t = s - a;
    (s, (a - (s - t)) + (b - t))
}

impl WideScalar<f64> for DoubleDouble {
    #[inline(always)]
    fn widened(x: f64) -> Self {
        Self { hi: x, lo: 0.0 }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        let (s, e) = two_sum(self.hi, other.hi);
        let (hi, lo) = two_sum(s, e + (self.lo + other.lo));
        Self { hi, lo }
    }
    #[inline(always)]
    fn scale(self, power_of_two: f64) -> Self {
        Self { hi: self.hi * power_of_two, lo: self.lo * power_of_two }
    }
    #[inline(always)]
    fn grow(self, growth: f64) -> Self {
        let (hi, lo) = two_sum(self.hi, self.hi.fma(growth, self.lo));
        Self { hi, lo }
    }
    #[inline(always)]
    fn reciprocal(self) -> (f64, f64) {
        let hi = 1.0 / self.hi;
        let residue = (-self.lo).fma(hi, (-self.hi).fma(hi, 1.0));
        (hi, residue * hi)
    }
    #[inline(always)]
    fn split(self) -> (f64, f64) {
        (self.hi, self.lo)
    }
    #[inline(always)]
    fn shifted(self, by: f64) -> (f64, f64) {
        WideScalar::<f64>::add(Self::widened(by), self).split()
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self.hi
    }
    #[inline(always)]
    fn rest(self) -> f64 {
        self.lo
    }
    #[inline(always)]
    fn rounded(self) -> f64 {
        if self.hi.is_finite() { self.hi + self.lo } else { self.hi }
    }
    #[inline(always)]
    fn to_double_double(self) -> DoubleDouble {
        self
    }
    #[inline(always)]
    fn from_double_double(x: DoubleDouble) -> Self {
        x
    }
}

impl Compute for f32 {
    const LANES: usize = 16;
    const NEG_INFINITY: Self = f32::NEG_INFINITY;
    const LOWEST: Self = f32::MIN;
    const NAN: Self = f32::NAN;
    const ZERO: Self = 0.0;
    const NEGATIVE_ZERO: Self = -0.0;
    const ONE: Self = 1.0;
    const LARGEST_POWER: f64 = 127.0;
    const PRODUCT_POWER: f64 = 0.0;
    type Array = [f32; 16];
    type Bits = u32;
    type Wide = f64;
    #[inline(always)]
    fn array(self) -> Self::Array {
        [self; 16]
    }
    #[inline(always)]
    fn cycle([a, b, c, d]: [Self; 4]) -> Self::Array {
        [a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d]
    }
    #[inline(always)]
    fn is_nan(self) -> bool {
        self.is_nan()
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self as f64
    }
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x as f32
    }
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        self.mul_add(b, c)
    }
}

impl Compute for f64 {
    const LANES: usize = 8;
    const NEG_INFINITY: Self = f64::NEG_INFINITY;
    const LOWEST: Self = f64::MIN;
    const NAN: Self = f64::NAN;
    const ZERO: Self = 0.0;
    const NEGATIVE_ZERO: Self = -0.0;
    const ONE: Self = 1.0;
    const LARGEST_POWER: f64 = 1023.0;
    const PRODUCT_POWER: f64 = 60.0;
    type Array = [f64; 8];
    type Bits = u64;
    type Wide = DoubleDouble;
    #[inline(always)]
    fn array(self) -> Self::Array {
        [self; 8]
    }
    #[inline(always)]
    fn cycle([a, b, c, d]: [Self; 4]) -> Self::Array {
        [a, b, c, d, a, b, c, d]
    }
    #[inline(always)]
    fn is_nan(self) -> bool {
        self.is_nan()
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x.into()
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self as f32
    }
    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        self.mul_add(b, c)
    }
}
