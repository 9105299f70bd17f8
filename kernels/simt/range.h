// A named stretch of work: a layer's forward, a kernel's launch, the replay of a graph. Whoever listens on this thread
// (core/device/timeline.h) is told of each; the cuda build with ESPALIER_PROFILE tells Nsight, too, through NVTX
// (domain "espalier", one push/pop range each). With neither, a range costs one thread-local load, and its name is
// never made.
#pragma once
#include <source_location>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#if defined(ESPALIER_PROFILE)
#include <nvtx3/nvToolsExt.h>
#endif

namespace espalier::simt {

struct RangeText {
  std::string name, detail = {};  // "gemm", "grid (8, 8, 1), block (256, 1, 1)"
};

class RangeListener {
 public:
  virtual void begin(const char* category, RangeText text) = 0;
  virtual void end() noexcept = 0;  // of the range begun last

 protected:
  ~RangeListener() = default;
};

inline constinit thread_local RangeListener* range_listener = nullptr;  // of this thread; set by who listens

namespace detail {

#if defined(ESPALIER_PROFILE)
constexpr bool kNvtx = true;

inline nvtxDomainHandle_t nvtx_domain() {
  static const nvtxDomainHandle_t domain = nvtxDomainCreateA("espalier");
  return domain;
}
inline void nvtx_push(const std::string& name) {
  nvtxEventAttributes_t attributes{};
  attributes.version = NVTX_VERSION;
  attributes.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
  attributes.messageType = NVTX_MESSAGE_TYPE_ASCII;
  attributes.message.ascii = name.c_str();
  nvtxDomainRangePushEx(nvtx_domain(), &attributes);
}
inline void nvtx_pop() { nvtxDomainRangePop(nvtx_domain()); }
#else
constexpr bool kNvtx = false;
inline void nvtx_push(const std::string&) {}
inline void nvtx_pop() {}
#endif

}  // namespace detail

class Range {
 public:
  static bool wanted() { return detail::kNvtx || range_listener != nullptr; }

  // "conv2d_1 forward": the phase may be empty.
  Range(const char* category, std::string_view name, std::string_view phase = {})
      : Range(category,
              [&] { return RangeText{std::string(name) + (phase.empty() ? "" : " ") + std::string(phase)}; }) {}

  // describe() makes the text, and is called only if anyone wants it.
  template <class Describe>
  requires std::is_invocable_r_v<RangeText, Describe> Range(const char* category, Describe describe)
      : open_(wanted()), listener_(range_listener) {
    if (open_) begin(category, describe());
  }
  ~Range() {
    if (open_) end();
  }
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

 private:
  void begin(const char* category, RangeText text) {
    detail::nvtx_push(text.name);
    if (listener_) listener_->begin(category, std::move(text));
  }
  void end() {
    if (listener_) listener_->end();
    detail::nvtx_pop();
  }
  bool open_;
  RangeListener* listener_;
};

// "gemm" out of "void espalier::kernels::gemm(const GemmShape&, ...)::<lambda(auto:1)> [with ...]": compilers say the
// whole signature, people want the function.
inline std::string_view function_of(const std::source_location& where) {
  std::string_view name = where.function_name();
  std::size_t end = 0;
  for (int depth = 0; end < name.size(); ++end) {
    if (name[end] == '<' || name[end] == '{') ++depth;
    if (name[end] == '>' || name[end] == '}') --depth;
    if (name[end] == '(' && depth == 0 && !name.substr(end).starts_with("(anonymous")) break;
  }
  name = name.substr(0, end);
  int depth = 0;
  while (end-- > 0) {
    if (name[end] == '>') ++depth;
    if (name[end] == '<') --depth;
    if (depth == 0 && (name[end] == ':' || name[end] == ' ')) {
      name.remove_prefix(end + 1);
      break;
    }
  }
  return name.substr(0, name.find('<'));
}

// "gemm", or with its file where the function's name alone says little: "pool2d forward".
inline std::string launcher_name(const std::source_location& where) {
  const std::string_view function = function_of(where);
  std::string_view file = where.file_name();
  file.remove_prefix(file.rfind('/') + 1);
  file = file.substr(0, file.find('.'));
  if (function.find(file) != std::string_view::npos) return std::string(function);
  return std::string(file) + " " + std::string(function);
}

}  // namespace espalier::simt
