/* Segments between the files of the extension module. */
#ifndef WBPF_PYTHON_SEGMENTS_H
#define WBPF_PYTHON_SEGMENTS_H

#include "bindings.h"
#include "recorder/reader.h"
#include <memory>

using SegmentPointer = std::shared_ptr<wbpf_segment>;

/* Of a Segment; raises if it is closed. */
SegmentPointer segment_of(nanobind::handle object);
/* A Segment that owns this one. */
nanobind::object segment_from(wbpf_segment *segment, const std::string &name);

#endif
