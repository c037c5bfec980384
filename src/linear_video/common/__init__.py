"""Small tools that everything else uses: checks, errors, files, images."""
