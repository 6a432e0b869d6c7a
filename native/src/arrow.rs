//! Frames in and out, as Arrow's C stream in a PyCapsule, which polars speaks: nothing is copied on the way.

use arrow_array::ffi_stream::{FFI_ArrowArrayStream, RecordBatchStreamReader};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchIterator, RecordBatchReader};
use arrow_schema::ArrowError;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

/// A frame for whoever reads Arrow: `polars.DataFrame(frame)`.
#[pyclass(frozen)]
pub struct Frame(pub RecordBatch);

#[pymethods]
impl Frame {
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        drop(requested_schema); // a wish, which may be passed over
        let batches = RecordBatchIterator::new([Ok(self.0.clone())], self.0.schema());
        PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(Box::new(batches)), c"arrow_array_stream")
    }
}

/// Reads a frame of one chunk.
pub fn read(frame: &Bound<'_, PyAny>) -> PyResult<RecordBatch> {
    let capsule = frame.call_method0("__arrow_c_stream__")?.cast_into::<PyCapsule>()?;
    let stream = capsule.pointer_checked(Some(c"arrow_array_stream"))?.cast::<FFI_ArrowArrayStream>();
    // SAFETY: what a capsule of this name points to is a stream, says Arrow's PyCapsule interface; taking it out leaves
    // an empty one, and the capsule is nobody else's.
    let stream = unsafe { FFI_ArrowArrayStream::from_raw(stream.as_ptr()) };
    let mut batches = RecordBatchStreamReader::try_new(stream).map_err(refused)?;
    let first = batches.next().transpose().map_err(refused)?;
    match (first, batches.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Ok(RecordBatch::new_empty(batches.schema())),
        _ => Err(PyValueError::new_err("the frame has several chunks")),
    }
}

/// Puts columns side by side, with numbers for names.
pub fn frame(columns: Vec<ArrayRef>) -> PyResult<Frame> {
    let columns = columns.into_iter().enumerate().map(|(number, column)| (number.to_string(), column, true));
    RecordBatch::try_from_iter_with_nullable(columns).map(Frame).map_err(refused)
}

fn refused(error: ArrowError) -> PyErr {
    PyValueError::new_err(error.to_string())
}
