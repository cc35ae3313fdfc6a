"""Conda's names for what PyPI calls otherwise, and the names that only conda has.

No conda channel is asked: the table holds the usual differences, every other name is the same in both places.
"""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PYPI_NAMES: dict[str, str] = {
    "astropy-base": "astropy",
    "black-jupyter": "black",
    "dask-core": "dask",
    "faiss": "faiss-cpu",
    "keras-base": "keras",
    "keras-gpu": "keras",
    "libopencv": "opencv-python-headless",
    "matplotlib-base": "matplotlib",
    "msgpack-python": "msgpack",
    "numpy-base": "numpy",
    "opencv": "opencv-python-headless",
    "psycopg2": "psycopg2-binary",
    "py-catboost": "catboost",
    "py-lightgbm": "lightgbm",
    "py-opencv": "opencv-python-headless",
    "py-xgboost": "xgboost",
    "py-xgboost-cpu": "xgboost",
    "py-xgboost-gpu": "xgboost",
    "pyarrow-all": "pyarrow",
    "pyarrow-core": "pyarrow",
    "pyg": "torch-geometric",
    "pyqt": "pyqt5",
    "pytables": "tables",
    "python-annoy": "annoy",
    "python-duckdb": "duckdb",
    "python-flatbuffers": "flatbuffers",
    "python-graphviz": "graphviz",
    "python-hnswlib": "hnswlib",
    "python-kaleido": "kaleido",
    "python-lmdb": "lmdb",
    "python-tzdata": "tzdata",
    "python-wget": "wget",
    "python-xxhash": "xxhash",
    "pytorch": "torch",
    "pytorch-cpu": "torch",
    "pytorch-gpu": "torch",
    "pytorch_geometric": "torch-geometric",
    "ray-all": "ray",
    "ray-core": "ray",
    "ray-default": "ray",
    "ray-serve": "ray",
    "ray-tune": "ray",
    "seaborn-base": "seaborn",
    "tensorflow-base": "tensorflow",
    "tensorflow-eigen": "tensorflow",
    "tensorflow-gpu": "tensorflow",
    "tensorflow-mkl": "tensorflow",
    "torchvision-cpu": "torchvision",
    "xgboost-cpu": "xgboost",
}

# What the base images and the machine bring, or what wheels carry inside themselves: left out, with a note.
_BROUGHT = _words("""
    _libgcc_mutex _openmp_mutex binutils blas bzip2 c-ares ca-certificates cpuonly cuda cuda-cudart cuda-libraries curl
    cuda-nvcc cuda-runtime cuda-toolkit cuda-version cudatoolkit cudatoolkit-dev cudnn expat fontconfig freetype git
    glib graphviz icu intel-openmp jpeg krb5 lcms2 ld_impl_linux-64 lerc libblas libcblas libcurl libedit libffi libgcc
    libgcc-ng libgfortran libgfortran-ng libgomp libjpeg-turbo liblapack libnghttp2 libnsl libopenblas libpng
    libprotobuf libsqlite libssh2 libstdcxx-ng libtiff libuuid libuv libwebp libxcb libxcrypt libxml2 libzlib
    llvm-openmp lz4-c magma-cuda118 magma-cuda121 make mkl mkl-service mkl_fft mkl_random mpi mpich nccl ncurses ninja
    nodefaults nomkl numactl openblas openjpeg openmp openmpi openssl pcre python_abi pytorch-cuda pytorch-mutex
    readline snappy sqlite tk ucx tbb wget xz yaml zlib zstd
""")

# Programs and languages of their own: there is no wheel that stands in for them.
_CONDA_ONLY = _words("""
    arpack bazel boost-cpp cmdstan compilers cxx-compiler c-compiler fortran-compiler ffmpeg fftw fluidsynth gcc gdal
    gcc_linux-64 gfortran gfortran_linux-64 geos glpk go gxx gxx_linux-64 hdf5 imagemagick ipopt julia libgdal
    libgl maven nodejs octave openjdk pandoc perl poppler postgresql proj r redis-server ruby rust samtools
    suitesparse swig tesseract texlive-core unixodbc yarn
""")


def brought(name: str) -> bool:
    """Whether a conda package is something that images, the machine or the wheels themselves bring."""
    return name in _BROUGHT or name.startswith("_") or name.endswith("-mutex")


def conda_only(name: str) -> bool:
    """Whether a conda package is not Python and cannot be left out: R, compilers, programs."""
    return name in _CONDA_ONLY or name.startswith(("r-", "bioconductor-", "perl-"))


def pypi_name(name: str) -> str:
    """PyPI's name for a conda package; both are lower case."""
    return PYPI_NAMES.get(name, re.sub(r"[-_.]+", "-", name))
