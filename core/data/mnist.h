// MNIST (LeCun, Cortes and Burges) and Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747): 60,000 training
// and 10,000 test images, 28 x 28 gray, ten classes, in four IDX files, plain or gzip-compressed.
// Looked for in the given directory; when it is empty in $ESPALIER_DATA (or its subfolder mnist, fashion-mnist), then
// in the user's cache ($XDG_CACHE_HOME or ~/.cache)/espalier/mnist. apps/fetch_data.sh fills such a folder and checks
// the SHA-256 of each file; reading checks everything else.
#pragma once
#include <filesystem>

#include "core/data/idx.h"
#include "core/data/image_data.h"

namespace espalier::data {

// Throws DataError when no folder has the files, or one of them is damaged.
ImageData mnist(const std::filesystem::path& directory = {}, const Options& options = {});
ImageData fashion_mnist(const std::filesystem::path& directory = {}, const Options& options = {});

// Where fetched files of "mnist" or "fashion-mnist" belong for this user.
std::filesystem::path cache_directory(const std::string& set);

}  // namespace espalier::data
