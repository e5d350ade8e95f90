//! One error type for the crate. It knows nothing of Python.
#![forbid(unsafe_code)]

use core::fmt;

/// Why an operation refused its input. Nothing has been written when one of these is returned,
/// except by [`Error::Interrupted`], which leaves the output unspecified.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// An axis does not exist.
    AxisOutOfRange {
        /// The axis as it was given, possibly negative.
        axis: isize,
        /// Dimensions of the array.
        ndim: usize,
    },
    /// The same axis was named twice.
    RepeatedAxis {
        /// The axis, counted from the front.
        axis: usize,
    },
    /// Two arrays that must have the same shape do not.
    ShapeMismatch {
        /// The argument that was refused.
        argument: &'static str,
        /// Its shape.
        got: Vec<usize>,
        /// The shape that was wanted.
        want: Vec<usize>,
    },
    /// An array does not broadcast to another.
    Broadcast {
        /// The argument that was refused.
        argument: &'static str,
        /// Its shape.
        got: Vec<usize>,
        /// The shape that it must broadcast to.
        want: Vec<usize>,
    },
    /// An element of an array is not what it must be.
    Element {
        /// The argument that was refused.
        argument: &'static str,
        /// What its elements must be.
        want: &'static str,
        /// The first that is not.
        got: f64,
        /// Where it is.
        position: Vec<usize>,
    },
    /// A number is not what it must be.
    Number {
        /// The argument that was refused.
        argument: &'static str,
        /// What it must be.
        want: &'static str,
        /// What it is.
        got: f64,
    },
    /// An option is not of the kind it must be.
    Option {
        /// The argument that was refused.
        argument: &'static str,
        /// What it must be.
        want: &'static str,
    },
    /// A label is no class.
    Label {
        /// The first that is none.
        got: i128,
        /// How many classes there are.
        classes: usize,
        /// Where it is.
        position: Vec<usize>,
    },
    /// Labels of this type could be classes or probabilities.
    LabelType(&'static str),
    /// The temperature is not a finite number above zero.
    Temperature(f64),
    /// A view reaches outside the memory it was made from.
    OutOfBounds,
    /// The elements of an output share memory with each other.
    OutputOverlapsItself,
    /// The element type cannot be computed on, or not written to.
    UnsupportedType(&'static str),
    /// An instruction set was asked for that does not exist or that this machine lacks.
    Isa(String),
    /// An entry is larger than all that a state has seen, so it cannot be one of them.
    NotSeen,
    /// There is no memory for what goes along with the rows.
    Memory {
        /// How much would be needed.
        bytes: usize,
    },
    /// The caller asked to stop.
    Interrupted,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AxisOutOfRange { axis, ndim } => {
                write!(f, "axis {axis} is out of bounds for array of dimension {ndim}")
            }
            Self::RepeatedAxis { axis } => write!(f, "repeated axis: {axis} is named twice in `axis`"),
            Self::ShapeMismatch { argument, got, want } => {
                write!(f, "{argument} has shape {got:?}, expected {want:?}")
            }
            Self::Broadcast { argument, got, want } => {
                write!(f, "{argument} has shape {got:?}, which does not broadcast to {want:?}")
            }
            Self::Element { argument, want, got, position } => {
                write!(f, "{argument} must be {want}, got {got} at {position:?}")
            }
            Self::Number { argument, want, got } => write!(f, "{argument} must be {want}, got {got}"),
            Self::Option { argument, want } => write!(f, "{argument} must be {want}"),
            Self::Label { got, classes: 0, position } => {
                write!(f, "labels must be ignore_index where there are no classes, got {got} at {position:?}")
            }
            Self::Label { got, classes, position } => {
                write!(f, "labels must be from 0 to {}, got {got} at {position:?}", *classes as i128 - 1)
            }
            Self::LabelType(got) => {
                write!(f, "labels has dtype {got}, expected integers (classes) or floats (probabilities)")
            }
            Self::Temperature(got) => {
                write!(f, "temperature must be a finite number above 0, got {got}")
            }
            Self::OutOfBounds => write!(f, "the view reaches outside its memory"),
            Self::OutputOverlapsItself => write!(f, "the elements of `out` overlap each other in memory"),
            Self::UnsupportedType(name) => write!(f, "element type {name} is not supported"),
            Self::Isa(message) => f.write_str(message),
            Self::NotSeen => {
                write!(
                    f,
                    "chunk has an entry above all that the state has seen, expected a chunk that was part of it"
                )
            }
            Self::Memory { bytes } => write!(f, "unable to allocate {bytes} bytes"),
            Self::Interrupted => write!(f, "interrupted"),
        }
    }
}

impl std::error::Error for Error {}
