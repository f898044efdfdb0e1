export const extras = async () => ({ checks: [] })
