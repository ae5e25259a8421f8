"""The image, made from the Dockerfile as it is and run as operators are told to run it.

There is neither a Docker daemon nor a registry in it: buildah builds, podman runs containers by
runc, and `base` stands in for the official Python image.
"""
